"""Plugins: models, index learners and pair selectors by name, from outside the package."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from conftest import tiny_settings

from recbole_hill import plugins, registry
from recbole_hill.cli import main
from recbole_hill.config.config import HillConfig, plain_settings
from recbole_hill.config.properties import internal_defaults, read_properties
from recbole_hill.data.splits import load_data
from recbole_hill.experiments.study.paper_table import PaperTable
from recbole_hill.experiments.study.plan import plan
from recbole_hill.model.build import build_model
from recbole_hill.model.bundle import BUNDLE
from recbole_hill.model.hill import HILL
from recbole_hill.pipeline import run
from recbole_hill.registry import LEARNERS, MODELS, SELECTORS, UnknownName
from recbole_hill.run.folder import read_config
from recbole_hill.run.hashes import HASHES
from recbole_hill.train.trainer import RunTrainer, trainer_for

MODEL = '''
from recbole_hill import plugins
from recbole_hill.model.bases.factorization import MatrixFactorization


@plugins.model("MyModel", citation="Ada Lovelace. 1843.", aliases=("Mine",))
class MyModel(MatrixFactorization):
    """BPR on item vectors of another scale."""

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.item_scale = config["item_scale"]

    def user_item_embeddings(self):
        users, items = super().user_item_embeddings()
        return users, self.item_scale * items
'''
MODEL_YAML = """
extends: BPR
item_scale: 2.0                 # (float) Of the item vectors.
per_dataset:
  gowalla:
    item_scale: 3.0
"""
LEARNER = '''
import numpy as np

from recbole_hill import plugins
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.learners import IndexLearner


@plugins.index_learner("by_norm")
class ByNorm(IndexLearner):
    """Cuts the items, in the order of their norms, into nodes of equal size."""

    def __init__(self, sizes, power):
        self.sizes, self.power = sizes, power

    @classmethod
    def from_settings(cls, settings, *, n_items, dim=None):
        return cls(settings["nodes_per_depth"], settings["norm_power"])

    def learn(self, vectors, ids, start=None):
        norms = (np.abs(vectors.items) ** self.power).sum(1)
        parents, below = [], len(ids)
        for size in self.sizes:
            rank = np.arange(below) if parents else norms.argsort().argsort()
            parents.append(rank * size // below)
            below = size
        return HierarchicalIndex.build(ids, parents, vectors.items)
'''
LEARNER_YAML = "norm_power: 2                  # (int) Of the entries.\n"
SELECTOR = '''
import numpy as np

from recbole_hill import plugins
from recbole_hill.adapt.pairs import Pairs


@plugins.pair_selector("touched", settings={"touched_most": 3})
def touched(history, search, index, settings):
    """Selects the first depth-1 nodes that hold an item of the user."""
    users, nodes = [], []
    for user, items in enumerate(np.split(history.indices, history.indptr[1:-1])):
        found = np.unique(index.parents[0][items])[: settings["touched_most"]]
        users += [user] * len(found)
        nodes += found.tolist()
    ones = np.ones(len(users), dtype=np.int64)
    return Pairs(np.array(users), np.array(nodes), ones, ones.astype(float), phi_dep=1)
'''

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed"
)


@pytest.fixture
def write(tmp_path):
    """Writes a file of a plugin into a folder outside the package, and returns its path."""
    folder = tmp_path / "outside"
    folder.mkdir()

    def write(name: str, text: str) -> str:
        (folder / name).write_text(text)
        return str(folder / name)

    return write


@pytest.fixture
def my_model(write) -> str:
    write("MyModel.yaml", MODEL_YAML)
    return write("my_model.py", MODEL)


@pytest.fixture
def my_learner(write) -> str:
    write("by_norm.yaml", LEARNER_YAML)
    return write("my_learner.py", LEARNER)


@pytest.fixture
def my_selector(write) -> str:
    return write("my_selector.py", SELECTOR)


@pytest.fixture
def tiny(tiny_path) -> list[str]:
    """Arguments of a fast run of a plain model on the tiny dataset."""
    lists = {"topk": [5, 20], "valid_metric": "NDCG@5"}
    return options({"data_path": tiny_path, "epochs": 2, "show_progress": False, **lists})


def hill_settings(tiny_path, **changes) -> dict:
    """Returns the fast settings of HILL on a backbone other than NESCL."""
    settings = tiny_settings(tiny_path, "HILL", adapt_control=[], **changes)
    settings.pop("ssl_warmup_epochs")
    return settings


def options(settings: dict) -> list[str]:
    return [f"--{key}={value}" for key, value in settings.items()]


def error_of(capsys) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


# -- loading ------------------------------------------------------------------------------------


def test_a_file_is_imported_once_under_a_name_that_its_path_decides(my_model, monkeypatch):
    module = plugins.load(my_model)
    assert plugins.load(Path(my_model)) is module
    assert sys.modules[module.__name__] is module
    monkeypatch.chdir(Path(my_model).parent)
    assert plugins.load("my_model.py") is module
    code = f"from recbole_hill import plugins; print(plugins.load({my_model!r}).__name__)"
    there = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == module.__name__
    assert plugins.loaded() == (my_model,)


def test_a_module_is_imported_by_its_dotted_name(write, monkeypatch):
    file = write("dotted_plugin.py", SELECTOR)
    monkeypatch.syspath_prepend(str(Path(file).parent))
    monkeypatch.delitem(sys.modules, "dotted_plugin", raising=False)
    assert plugins.load("dotted_plugin").__name__ == "dotted_plugin"
    assert SELECTORS.find("touched").plugin.name == "dotted_plugin"
    assert plugins.loaded() == ("dotted_plugin",)


BROKEN = {
    "raises.py": ("import os\n\nraise RuntimeError('no\\nluck')\n", "line 3: RuntimeError: no"),
    "syntax.py": ("x = 1\ndef f(:\n", "line 2: SyntaxError: invalid syntax"),
    "imports.py": ("import nothing_at_all\n", "line 1: No module named 'nothing_at_all'"),
    "taken.py": (MODEL.replace('"MyModel"', '"HILL"'), "model name 'HILL' is already registered"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_plugin_that_fails_is_one_line_that_names_it(name, write, capsys):
    text, message = BROKEN[name]
    file = write(name, text)
    assert main(["models", f"--plugin={file}"]) == 1
    error = error_of(capsys)
    assert error.startswith(f"error: plugin {file}") and message in error
    assert not plugins.loaded()


@pytest.mark.parametrize("failing", ["ValueError('too small')", "1 / 0"])
def test_an_error_in_a_plugins_code_names_its_line(failing, my_model, tiny_path, in_tmp, capsys):
    file = Path(my_model)
    text = file.read_text()
    file.write_text(
        text + f"\n    def calculate_loss(self, interaction):\n        raise {failing}\n"
    )
    line = len(file.read_text().splitlines())
    settings = [f"--{key}={value}" for key, value in tiny_settings(tiny_path, "BPR").items()]
    argv = [f"--plugin={file}", "--model=MyModel", "--dataset=tiny", *settings]
    assert main(argv) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith(f"(plugin {file}, line {line})"), said


def test_a_plugin_that_registers_nothing_is_refused(write, in_tmp, capsys):
    (in_tmp / "empty_folder").mkdir()
    for source in (write("nothing.py", "X = 1\n"), "json"):
        with pytest.raises(
            ValueError, match=f"{Path(source).name} registers nothing; accepted is a"
        ):
            plugins.load(source)
    assert main(["models", f"--plugin={write('none.py', '')}"]) == 1
    assert "none.py registers nothing" in capsys.readouterr().err
    for folder in ("empty_folder", str(in_tmp / "empty_folder")):
        with pytest.raises((ValueError, ImportError), match=f"plugin {folder}"):
            plugins.load(folder)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.py", "plugin nowhere.py does not exist"),
        ("nowhere.at_all", "plugin nowhere.at_all: No module named 'nowhere' (Python looks in"),
    ],
)
def test_a_plugin_that_is_not_there(source, message, in_tmp, capsys):
    assert main(["models", f"--plugin={source}"]) == 1
    assert message in error_of(capsys)


def test_every_command_takes_plugins(write, capsys):
    file = write("raises.py", "raise RuntimeError('loaded')")
    needed = {
        "run": [],
        "stream": ["--model=X", "--dataset=X"],
        "table": ["3"],
        "sweep": ["--model=X", "--dataset=X"],
        "recommend": ["--checkpoint=X", "--users=1"],
        "explain": ["--checkpoint=X", "--user=1"],
        "export": ["--checkpoint=X", "--output=Y"],
        "report": [],
        "models": [],
    }
    for command, others in needed.items():
        assert main([command, *others, f"--plugin={file}"]) == 1
        assert "RuntimeError: loaded" in error_of(capsys), command


# -- registering --------------------------------------------------------------------------------


def test_names_are_taken_once_and_by_their_object_again():
    class First:
        pass

    class Second:
        pass

    plugins.model("Twice", settings={})(First)
    plugins.model("Twice", settings={"a": 1})(First)  # a notebook's cell runs again
    assert registry.find("Twice").settings == {"a": 1}
    for name in ("Twice", "twice", "NESCL", "supccl", "SASRec"):
        with pytest.raises(ValueError, match=f"model name '{name}' is already registered"):
            plugins.model(name)(Second)
    with pytest.raises(ValueError, match="model name 'hill' is already registered"):
        plugins.model("Third", aliases="hill")(Second)
    plugins.pair_selector("own")(lambda *given: None)
    for name in ("interest", "own"):
        with pytest.raises(ValueError, match=f"pair_selector name '{name}' is already registered"):
            plugins.pair_selector(name)(print)


@pytest.mark.parametrize(
    ("decorator", "target", "message"),
    [
        (plugins.model("X"), print, "model 'X' must be a class"),
        (plugins.model("a b"), HILL, "a name must be of letters, digits"),
        (plugins.model("recbole.X"), HILL, "a name must be of letters, digits"),
        (plugins.model("X", settings=[1]), HILL, r"settings of X must be a mapping, got \[1\]"),
        (plugins.index_learner("x"), HILL, "must derive from recbole_hill.index.learners"),
        (plugins.pair_selector("x"), 3, "pair selector 'x' must be a function, got 3"),
    ],
)
def test_what_cannot_be_registered(decorator, target, message):
    with pytest.raises(ValueError, match=message):
        decorator(target)


@pytest.mark.parametrize(
    ("known", "name", "message"),
    [
        (LEARNERS, "by_norn", "unknown index_learning 'by_norn'; did you mean by_norm"),
        (LEARNERS, "zzz", r"unknown index_learning 'zzz' \(accepted are em, joint, separate, by_n"),
        (SELECTORS, "tuched", "unknown pair_selector 'tuched'; did you mean touched"),
        (MODELS, "MyModl", "unknown model 'MyModl'; did you mean MyModel"),
    ],
)
def test_unknown_names_suggest_a_plugins(known, name, message, my_model, my_learner, my_selector):
    for file in (my_model, my_learner, my_selector):
        plugins.load(file)
    with pytest.raises(UnknownName, match=message):
        known.find(name)


def test_a_subclass_has_the_trainer_of_its_base(tiny_config):
    from recbole_hill.labelled.hsnn import HSNN
    from recbole_hill.model.bases.factorization import MatrixFactorization

    made = {}
    for base in (HILL, HSNN, MatrixFactorization):
        made[base] = plugins.model(f"My{base.__name__}")(type(f"My{base.__name__}", (base,), {}))
    assert registry.trainer_of(made[HILL]) is registry.find("HILL").load_trainer()
    assert registry.trainer_of(made[HSNN]) is registry.find("HSNN").load_trainer()
    assert registry.trainer_of(made[MatrixFactorization]) is None
    named = plugins.model("Named", trainer=RunTrainer)(type("Named", (HILL,), {}))
    assert registry.trainer_of(named) is RunTrainer


def test_the_trainers_that_the_catalogue_names_are_the_models_own():
    for entry in registry.entries():
        if entry.origin != "recbole" and entry.trainer:
            assert entry.load_trainer() is registry.trainer_of(entry.load())
            assert issubclass(entry.load_trainer(), RunTrainer)


# -- settings -----------------------------------------------------------------------------------


def test_extending_hill_brings_its_keys_and_per_dataset_values():
    cls = type("MyHILL", (HILL,), {})
    own = {"phi_dep": 1, "mine": 4, "per_dataset": {"yelp2018": {"beam_width": 7}}}
    plugins.model("MyHILL", settings={"extends": "HILL", **own})(cls)
    hill = internal_defaults("HILL", "gowalla")
    assert internal_defaults("MyHILL", "gowalla") == {**hill, "phi_dep": 1, "mine": 4}
    assert internal_defaults("MyHILL", "yelp2018")["beam_width"] == 7
    assert internal_defaults("MyHILL", "ml-100k", backbone="LightGCN")["backbone"] == "LightGCN"
    with pytest.raises(ValueError, match="unknown key 'phi_dap' for model MyHILL; did you mean ph"):
        HillConfig("MyHILL", "ml-100k", None, {"phi_dap": 1})


def test_extending_a_labelled_model_reads_features():
    plugins.model("MyTTSN", settings={"extends": "TTSN"})(registry.find("TTSN").load())
    mine, ours = (internal_defaults(name, "ml-100k") for name in ("MyTTSN", "TTSN"))
    assert mine == ours and mine["tasks"] and mine["reads_features"]


def test_extending_a_model_of_recboles_brings_its_defaults():
    plugins.model("MySASRec", settings={"extends": "SASRec"})(registry.find("SASRec").load())
    assert internal_defaults("MySASRec", "ml-100k")["n_heads"] == 2


def test_the_yaml_beside_the_module(my_model):
    plugins.load(my_model)
    assert internal_defaults("MyModel", "ml-100k")["item_scale"] == 2.0
    assert internal_defaults("MyModel", "gowalla")["item_scale"] == 3.0
    assert HillConfig("Mine", "ml-100k")["model"] == "MyModel"
    Path(my_model).with_name("MyModel.yaml").write_text("- 1\n")
    with pytest.raises(ValueError, match=r"MyModel\.yaml must hold settings"):
        internal_defaults("MyModel", "ml-100k")
    Path(my_model).with_name("MyModel.yaml").write_text("a: [\n")
    with pytest.raises(ValueError, match=r"MyModel\.yaml is not YAML"):
        internal_defaults("MyModel", "ml-100k")


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("A", "A extends itself, by way of A"),
        ("B", "A extends itself, by way of B"),
        ("HIL", "A extends 'HIL': unknown model 'HIL'; did you mean HILL"),
    ],
)
def test_what_cannot_be_extended(base, message):
    for name, extended in (("A", base), ("B", "A")):
        plugins.model(name, settings={"extends": extended})(type(name, (), {}))
    with pytest.raises(ValueError, match=message):
        internal_defaults("A", "ml-100k")


def test_a_learners_keys_are_known_where_it_is_used(my_learner, tiny_config):
    plugins.load(my_learner)
    config = tiny_config("HILL", index_learning="by_norm")
    assert config["norm_power"] == 2 and config["em_rounds"] == 1
    assert tiny_config("HILL", index_learning="by_norm", norm_power=1)["norm_power"] == 1
    with pytest.raises(ValueError, match=r"unknown key 'norm_powr'.*did you mean norm_power"):
        tiny_config("HILL", index_learning="by_norm", norm_powr=1)
    with pytest.raises(ValueError, match="unknown key 'norm_power' for model HILL"):
        tiny_config("HILL", norm_power=1)
    with pytest.raises(ValueError, match="unknown key 'index_learning' for model BPR"):
        tiny_config("BPR", index_learning="by_norm")


def test_a_selectors_keys_are_known_where_it_is_used(my_selector, tiny_config):
    plugins.load(my_selector)
    assert tiny_config("HILL", pair_selector="touched")["touched_most"] == 3
    with pytest.raises(ValueError, match="unknown key 'touched_most' for model HILL"):
        tiny_config("HILL", touched_most=1)
    with pytest.raises(ValueError, match="unknown pair_selector 'tuched'; did you mean touched"):
        tiny_config("HILL", pair_selector="tuched")


# -- a model through every command --------------------------------------------------------------


@pytest.fixture
def my_run(my_model, tiny, in_tmp, capsys) -> Path:
    """The folder of a finished run of MyModel, with the registry as it was before."""
    before = dict(MODELS._added)
    assert main(["--model=Mine", "--dataset=tiny", f"--plugin={my_model}", *tiny]) == 0
    MODELS._added, plugins._loaded = before, {}
    return in_tmp / capsys.readouterr().out.strip().splitlines()[-1].removeprefix("kept in ")


def test_the_run_records_the_plugin(my_run, my_model):
    settings = read_config(my_run)
    (row,) = map(json.loads, (my_run / "rows.jsonl").read_text().splitlines())
    assert settings["plugins"] == row["settings"]["plugins"]
    assert list(settings["plugins"]) == ["my_model.py"]
    assert len(settings["plugins"]["my_model.py"]) == 64
    assert (settings["model"], settings["item_scale"]) == ("MyModel", 2.0)


def test_models_lists_the_plugins(my_model, capsys):
    assert main(["models", f"--plugin={my_model}"]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("MyModel (Mine) ")]
    assert line.split()[2] == "plugin" and line.endswith("Ada Lovelace. 1843.")


@pytest.mark.parametrize("command", ["recommend", "export", "resume"])
def test_a_folder_needs_its_plugin_again(command, my_run, my_model, in_tmp, capsys):
    argv = {
        "recommend": ["recommend", f"--checkpoint={my_run}", "--users=42", "--k=3"],
        "export": ["export", f"--checkpoint={my_run}", f"--output={in_tmp / 'exported'}"],
        "resume": [f"--resume={my_run}"],
    }[command]
    for name in (BUNDLE, HASHES):  # as an older version left the folder: the model serves
        (Path(my_run) / name).unlink()
    assert main(argv) == 1
    error = error_of(capsys)
    assert "unknown model 'MyModel'" in error
    assert error.endswith("the run was made with --plugin='my_model.py'")
    assert main([*argv, f"--plugin={my_model}"]) == 0
    if command == "recommend":
        assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_changed_plugin_is_named(my_run, my_model):
    Path(my_model).write_text(MODEL + "# edited\n")
    plugins.load(my_model)
    with pytest.warns(UserWarning, match=r"plugin my_model\.py is not the file that the run was"):
        HillConfig(None, None, None, read_config(my_run))


def test_as_a_backbone(my_model, tiny_path, in_tmp):
    plugins.load(my_model)
    settings = hill_settings(tiny_path, backbone="Mine", n_negatives=4)
    result = run("HILL", "tiny", overrides=settings)
    assert {"backbone", "HILL"} <= {row["arm"] for row in result.rows}
    settings = read_config(result.folder)
    assert settings["backbone"] == "MyModel" and settings["item_scale"] == 2.0
    assert list(settings["plugins"]) == ["my_model.py"]


def test_as_a_row_of_a_table(my_model, tiny, in_tmp, capsys):
    argv = ["table", "3", "--dataset=tiny", "--models=MyModel", f"--plugin={my_model}", *tiny]
    assert main(argv) == 0
    assert "1 cells done, 0 failed, 0 left" in capsys.readouterr().out
    file = in_tmp / "studies" / "table3-tiny-holdout" / "cells.jsonl"
    (cell,) = map(json.loads, file.read_text().splitlines())
    assert cell["rows"][0]["model"] == cell["row"] == "MyModel"
    assert list(cell["rows"][0]["settings"]["plugins"]) == ["my_model.py"]
    assert main(argv) == 0
    assert len(file.read_text().splitlines()) == 1  # nothing runs twice


def test_a_cell_is_named_by_the_plugins_code_too(my_model, tiny_path, tmp_path):
    def cells(rows=("Pop", "MyModel")):
        settings = {"data_path": str(tiny_path)}
        study = plan(PaperTable.read("3"), "tiny", root=tmp_path, rows=rows, settings=settings)
        return {cell.row: cell for cell in study.cells}

    alone = cells(rows=("Pop",))
    plugins.load(my_model)
    first = cells()
    assert first["Pop"].id == alone["Pop"].id
    assert first["MyModel"].plugins == (my_model,)
    Path(my_model).write_text(MODEL + "# edited\n")
    plugins._loaded.clear()
    plugins.load(my_model)
    assert cells()["MyModel"].id != first["MyModel"].id


@pytest.mark.slow
@needs_ray
def test_in_a_sweep(my_model, write, tiny, in_tmp, capsys):
    write("MyModel.tuning.yaml", "item_scale: {choice: [1.0, 2.0]}\n")
    argv = ["sweep", "--model=MyModel", "--dataset=tiny", "--trials=1", "--strategy=random"]
    argv += [f"--plugin={my_model}", *tiny]
    assert main([*argv, "--output=out"]) == 0
    best = (in_tmp / "out" / "best.yaml").read_text()
    assert yaml.safe_load(best).keys() == {"item_scale"}
    assert f"--plugin={my_model}" in best
    assert "plugins" in yaml.safe_load((in_tmp / "out" / "sweep.yaml").read_text())["settings"]
    Path(my_model).with_name("MyModel.tuning.yaml").unlink()
    assert main([*argv, "--output=other"]) == 1
    assert "MyModel.tuning.yaml does not exist" in error_of(capsys)


def python(code: str, folder, path: str = "") -> str:
    package = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (package, path)))}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


BOTH = "import recbole_hill; from recbole_hill import plugins;"


def test_recbole_finds_a_model_that_was_loaded_before(my_model, tmp_path):
    code = BOTH + (
        f"plugins.load({my_model!r}); recbole_hill.register();"
        "from recbole.utils import get_model, get_trainer, ModelType;"
        "print(get_model('MyModel').__name__, get_trainer(ModelType.GENERAL, 'MyModel').__name__)"
    )
    assert python(code, tmp_path) == "MyModel RunTrainer\n"


@pytest.mark.slow
@needs_ray
def test_run_recbole_runs_a_model_that_was_loaded_later(my_model, tmp_path):
    settings = {"epochs": 1, "show_progress": False, "state": "ERROR", "gpu_id": ""}
    code = BOTH + (
        f"recbole_hill.register(); plugins.load({my_model!r}); import glob;"
        "from recbole.quick_start import run_recbole, load_data_and_model;"
        f"run_recbole(model='MyModel', dataset='ml-100k', config_dict={settings!r});"
        "folder = glob.glob('saved/MyModel-ml-100k-*')[0];"
        "config, model, *_ = load_data_and_model(folder);"
        "print(type(model).__name__, config['item_scale'], config['n_negatives'])"
    )
    assert python(code, tmp_path).strip().splitlines()[-1] == "MyModel 2.0 16"


# -- a learner and a selector -------------------------------------------------------------------


def test_a_learner_and_a_selector_in_a_run(my_learner, my_selector, tiny_path, in_tmp, capsys):
    names = {"index_learning": "by_norm", "pair_selector": "touched", "touched_most": 2}
    settings = hill_settings(tiny_path, backbone="BPR", **names)
    argv = ["--model=HILL", "--dataset=tiny", f"--plugin={my_learner},{my_selector}"]
    assert main([*argv, *options(settings)]) == 0
    folder = capsys.readouterr().out.strip().splitlines()[-1].removeprefix("kept in ")
    stages = json.loads((in_tmp / folder / "stages.json").read_text())
    assert stages["index"]["nodes_per_depth"] == [12, 4]
    assert {load["largest"] for load in stages["index"]["loads"]} == {4 / 48, 12 / 48}
    assert 80 < stages["pairs"]["per_depth"]["1"] <= 160
    assert list(read_config(Path(folder))["plugins"]) == ["my_learner.py", "my_selector.py"]

    recommend = ["recommend", f"--checkpoint={folder}", "--users=42", "--retrieval=beam", "--k=3"]
    assert main([*recommend, *argv[2:]]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    LEARNERS._added.pop("by_norm")
    assert main(recommend) == 0  # its vectors and its index serve without the learner
    for name in (BUNDLE, HASHES):  # as an older version left the folder: the model serves
        (in_tmp / folder / name).unlink()
    assert main(recommend) == 1
    assert "unknown index_learning 'by_norm'" in error_of(capsys)


def test_the_recipes_work_as_they_are_written(tiny_path, in_tmp):
    guide = Path(__file__).parents[1] / "CONTRIBUTING.md"
    if not guide.is_file():
        pytest.skip("not a checkout")
    made = {}
    for block in re.findall(r"^   ```python\n(.*?)^   ```$", guide.read_text(), re.S | re.M):
        exec(textwrap.dedent(block), made)
    plugins.index_learner("by_norm")(made["ByNorm"])
    plugins.pair_selector("touched")(made["touched_pairs"])
    names = {"index_learning": "by_norm", "pair_selector": "touched"}
    settings = hill_settings(tiny_path, backbone="BPR", **names)
    stages = run("HILL", "tiny", overrides=settings).stages
    assert stages["index"]["nodes_per_depth"] == [12, 4]
    assert stages["pairs"]["per_depth"][1] > 80


def test_a_learner_in_a_subclass_of_hill(my_learner, tiny_path, tmp_path):
    plugins.load(my_learner)
    own = {"extends": "HILL", "index_learning": "by_norm", "backbone": "BPR"}
    plugins.model("MyHILL", settings=own)(type("MyHILL", (HILL,), {}))
    settings = tiny_settings(tiny_path, "MyHILL", run_dir=str(tmp_path))
    config = HillConfig("MyHILL", "tiny", None, settings)
    data = load_data(config)
    trainer = trainer_for(config, build_model(config, data))
    assert type(trainer) is registry.find("HILL").load_trainer()
    assert type(trainer.model.learner) is LEARNERS.find("by_norm").load()


# -- installed plugins --------------------------------------------------------------------------


@pytest.fixture
def site(write) -> str:
    """A folder with an installed package of one plugin that works and one that does not."""
    folder = Path(write("demo_plugin.py", MODEL)).parent
    write("MyModel.yaml", MODEL_YAML)
    about = folder / "demo-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[recbole_hill.plugins]\nbroken = demo_broken\ndemo = demo_plugin\n"
    )
    write("demo_broken.py", "raise RuntimeError('out of order')\n")
    return str(folder)


def test_installed_plugins_are_found_and_a_broken_one_breaks_nothing(site, tmp_path):
    code = (
        "import warnings; from recbole_hill import registry; import sys;"
        "print('demo_plugin' in sys.modules);"
        "warnings.simplefilter('always'); caught = warnings.catch_warnings(record=True);"
        "seen = caught.__enter__(); entry = registry.find('Mine');"
        "print([str(w.message) for w in seen if 'plugin' in str(w.message)]);"
        "print(entry.name, entry.origin, entry.plugin.name, registry.find('BPR').name);"
        "from recbole_hill.config.properties import internal_defaults as defaults;"
        "print(defaults('MyModel', 'ml-100k')['item_scale'])"
    )
    lines = python(code, tmp_path, site).splitlines()
    assert lines == [
        "False",
        "['the installed plugin broken (demo_broken) cannot be imported: RuntimeError: out of "
        "order']",
        "MyModel plugin demo_plugin BPR",
        "2.0",
    ]


# -- what a run's folder cannot do --------------------------------------------------------------


@pytest.fixture
def hostile(write, tmp_path) -> str:
    return write("hostile.py", f"open({str(tmp_path / 'executed')!r}, 'w').close()\n")


@pytest.mark.parametrize(
    "change",
    [
        {"plugins": {"hostile.py": "0" * 64}},
        {"plugins": ["hostile.py"]},
        {"plugins": "hostile.py"},
        {"plugin": "hostile.py"},
        {"model": "hostile:Model"},
        {"model": "hostile.py", "plugins": {"hostile.py": ""}},
        {"backbone": "hostile:Model"},
        {"index_learning": "hostile:Learner"},
        {"pair_selector": "hostile:select"},
        {"extends": "hostile"},
        {"trainer": "hostile:Trainer"},
    ],
)
@pytest.mark.parametrize("command", ["recommend", "explain", "export", "resume"])
def test_a_runs_settings_import_nothing(
    change, command, hostile, run_folder, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "given"
    folder.mkdir()
    for file in run_folder.iterdir():
        if file.is_file() and file.name not in (BUNDLE, HASHES):  # the model serves
            (folder / file.name).write_bytes(file.read_bytes())
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**settings, **change}))
    monkeypatch.chdir(Path(hostile).parent)
    monkeypatch.syspath_prepend(str(Path(hostile).parent))
    argv = {
        "recommend": ["recommend", f"--checkpoint={folder}", "--users=1", "--k=2"],
        "explain": ["explain", f"--checkpoint={folder}", "--user=1"],
        "export": ["export", f"--checkpoint={folder}", f"--output={tmp_path / 'exported'}"],
        "resume": [f"--resume={folder}"],
    }[command]
    is_record = change == {"plugins": {"hostile.py": "0" * 64}}
    assert main(argv) == (0 if is_record else 1)
    assert not (tmp_path / "executed").exists()
    if not is_record:
        error = error_of(capsys)
        assert "hostile" in error or "unknown key" in error


def test_plugins_are_no_setting(in_tmp, capsys):
    assert main(["--model=Pop", "--dataset=ml-100k", "--plugins=my.py"]) == 1
    assert "a plugin is given as --plugin=FILE" in error_of(capsys)


def test_runs_without_plugins_are_as_before(tiny_config):
    assert "plugins" not in plain_settings(tiny_config("Pop"))
    assert read_properties("model", "HILL.yaml")["backbone"] == "NESCL"
