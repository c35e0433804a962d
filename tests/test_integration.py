"""RecBole's own entry points after ``register()``, each in a process of its own."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

REGISTERED = "import recbole_hill; recbole_hill.register();"

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="recbole.quick_start imports Ray, which is not installed",
)


def python(code: str, folder) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_nothing_happens_at_import(tmp_path):
    code = (
        "import recbole_hill, recbole_hill.pipeline; from recbole.utils import get_model\n"
        "try: get_model('HILL')\n"
        "except (ValueError, ImportError): print('unknown')"
    )
    assert python(code, tmp_path) == "unknown\n"


def test_get_model_and_trainer_find_ours(tmp_path):
    code = REGISTERED + (
        "from recbole.utils import get_model, get_trainer, ModelType;"
        "print([get_model(n).__module__ for n in ('HILL', 'LightGCN', 'BPR')]);"
        "print(get_trainer(ModelType.GENERAL, 'HILL').__name__)"
    )
    out = python(code, tmp_path)
    assert "'recbole_hill.model.hill', 'recbole_hill.model.patched'" in out
    assert "'recbole.model.general_recommender.bpr'" in out and "HILLTrainer" in out


def test_loaders_and_trainers_go_by_the_class(tmp_path):
    code = REGISTERED + (
        "from recbole.config import Config; from recbole.data.utils import get_dataloader;"
        "from recbole.utils import get_trainer;"
        "names = ('Mult-VAE', 'Macrid-VAE', 'HSNN', 'TTSN', 'NCL', 'NESCL');"
        "c = [Config(model=n, dataset='ml-100k') for n in names];"
        "print([get_dataloader(one, 'train').__name__ for one in c]);"
        "print([get_trainer(one['MODEL_TYPE'], one['model']).__name__ for one in c])"
    )
    loaders, trainers = python(code, tmp_path).splitlines()[-2:]
    assert ast.literal_eval(loaders) == ["UserDataLoader"] * 2 + ["TrainDataLoader"] * 4
    theirs = ["RunTrainer", "RunTrainer", "HSNNTrainer", "LabelledTrainer", "RunNCLTrainer"]
    assert ast.literal_eval(trainers) == [*theirs, "RunTrainer"]


def test_registering_twice_is_once(tmp_path):
    code = REGISTERED + "recbole_hill.register(); from recbole.config import Config; print(1)"
    assert python(code, tmp_path) == "1\n"


@needs_ray
def test_run_recbole_and_load_data_and_model(tmp_path):
    settings = {
        "epochs": 2,
        "nodes_per_depth": [40, 8],
        "ttt_epochs": 1,
        "em_rounds": 0,
        "adapt_control": [],
        "show_progress": False,
        "state": "ERROR",
        "gpu_id": "",
    }
    code = REGISTERED + (
        "from recbole.quick_start import run_recbole, load_data_and_model; import glob;"
        f"result = run_recbole(model='HILL', dataset='ml-100k', config_dict={settings!r});"
        "print(result['test_result']['recall@20']);"
        "folder = glob.glob('saved/HILL-ml-100k-*')[0];"
        "config, model, dataset, train, valid, test = load_data_and_model(folder);"
        "from recbole_hill.train.trainer import trainer_for;"
        "print(type(model).__name__, model.index.nodes_per_depth);"
        "config['run_dir'] = 'again'; t = trainer_for(config, model);"
        "t.eval_collector.data_collect(train);"
        "print(t.evaluate(test, load_best_model=False)['recall@20'])"
    )
    first, middle, last = python(code, tmp_path).strip().splitlines()[-3:]
    assert middle == "HILL (40, 8)"
    assert first == last and float(first) > 0.05


@needs_ray
def test_run_recbole_trains_a_model_of_recbole(tmp_path):
    """RecBole's own trainer pickles its checkpoint, which torch 2.6 refuses to load."""
    code = REGISTERED + (
        "from recbole.quick_start import run_recbole; import glob;"
        "given = {'epochs': 1, 'show_progress': False, 'state': 'ERROR'};"
        "result = run_recbole(model='BPR', dataset='ml-100k', config_dict=given);"
        "print(result['test_result']['recall@10'] > 0, glob.glob('saved/**/*.pth', recursive=True))"
    )
    assert python(code, tmp_path).strip().splitlines()[-1] == "True []"


@pytest.mark.slow
def test_run_recbole_trains_the_index_of_hsnn(tmp_path):
    settings = {
        "epochs": 1,
        "item_epochs": 1,
        "monn_scale": 0.1,
        "hsnn_layers": [{"size": "XS", "nodes": 10}, {"size": "XS"}],
        "show_progress": False,
        "state": "ERROR",
        "gpu_id": "",
    }
    code = REGISTERED + (
        "from recbole.quick_start import run_recbole; import glob, json;"
        f"print(run_recbole(model='HSNN', dataset='ml-100k', config_dict={settings!r}));"
        "print(list(json.load(open(glob.glob('saved/HSNN-*/stages.json')[0]))))"
    )
    result, stages = python(code, tmp_path).strip().splitlines()[-2:]
    assert "'ne'" in result and ast.literal_eval(stages) == ["item_layer", "backbone"]
