"""RecBole's own entry points after ``register()``, in processes of their own."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from recbole.utils import get_model

from recbole_hill.host.compatibility import without_anomaly_detection

REGISTERED = "import recbole_hill; recbole_hill.register();"
#: Prints what RecBole's functions find after ``register()``, which is called twice, as JSON.
FOUND = """
import json
import recbole_hill
recbole_hill.register()
recbole_hill.register()
from recbole.config import Config
from recbole.data.utils import get_dataloader
from recbole.utils import ModelType, get_model, get_trainer

names = ("Mult-VAE", "Macrid-VAE", "HSNN", "TTSN", "NCL", "NESCL")
configs = [Config(model=name, dataset="ml-100k") for name in names]
found = {
    "models": [get_model(name).__module__ for name in ("HILL", "LightGCN", "BPR")],
    "HILL": get_trainer(ModelType.GENERAL, "HILL").__name__,
    "loaders": [get_dataloader(one, "train").__name__ for one in configs],
    "trainers": [get_trainer(one["MODEL_TYPE"], one["model"]).__name__ for one in configs],
}
print(json.dumps(found))
"""
#: Trains HILL and RecBole's BPR through RecBole, and loads HILL's run; prints what came of it.
TRAINED = """
import glob, json
import recbole_hill
recbole_hill.register()
from recbole.quick_start import load_data_and_model, run_recbole
from recbole_hill.train.trainer import trainer_for

quiet = {"show_progress": False, "state": "ERROR", "gpu_id": ""}
small = {"epochs": 2, "nodes_per_depth": [40, 8], "ttt_epochs": 1, "em_rounds": 0}
small |= {"adapt_control": [], **quiet}
hill = run_recbole(model="HILL", dataset="ml-100k", config_dict=small)
config, model, dataset, train, valid, test = load_data_and_model(glob.glob("saved/HILL-*")[0])
config["run_dir"] = "again"
trainer = trainer_for(config, model)
trainer.eval_collector.data_collect(train)
again = trainer.evaluate(test, load_best_model=False)
bpr = run_recbole(model="BPR", dataset="ml-100k", config_dict={"epochs": 1, **quiet})
found = {
    "recall@20": [float(result["recall@20"]) for result in (hill["test_result"], again)],
    "loaded": [type(model).__name__, *model.index.nodes_per_depth],
    "BPR": float(bpr["test_result"]["recall@10"]),
    "pickles": glob.glob("saved/**/*.pth", recursive=True),
}
print(json.dumps(found))
"""

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


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict:
    return json.loads(python(FOUND, tmp_path_factory.mktemp("found")).splitlines()[-1])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict:
    return json.loads(python(TRAINED, tmp_path_factory.mktemp("trained")).splitlines()[-1])


def test_nothing_happens_at_import():
    """Every module that the tests import is imported by now, and none of them registers."""
    with without_anomaly_detection(), pytest.raises((ValueError, ImportError)):
        get_model("HILL")


def test_get_model_and_trainer_find_ours(found):
    ours, mended, theirs = found["models"]
    assert (ours, mended) == ("recbole_hill.model.hill", "recbole_hill.model.patched")
    assert theirs == "recbole.model.general_recommender.bpr"
    assert found["HILL"] == "HILLTrainer"


def test_loaders_and_trainers_go_by_the_class(found):
    assert found["loaders"] == ["UserDataLoader"] * 2 + ["TrainDataLoader"] * 4
    theirs = ["RunTrainer", "RunTrainer", "HSNNTrainer", "LabelledTrainer", "RunNCLTrainer"]
    assert found["trainers"] == [*theirs, "RunTrainer"]


@needs_ray
def test_run_recbole_and_load_data_and_model(trained):
    first, last = trained["recall@20"]
    assert trained["loaded"] == ["HILL", 40, 8]
    assert first == last and first > 0.05


@needs_ray
def test_run_recbole_trains_a_model_of_recbole(trained):
    """RecBole's own trainer pickles its checkpoint, which torch 2.6 refuses to load."""
    assert trained["BPR"] > 0 and trained["pickles"] == []


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
