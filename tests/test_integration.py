"""RecBole's own entry points after ``register()``, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REGISTERED = "import recbole_hill; recbole_hill.register();"


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
        "import recbole_hill, recbole_hill.quick_start; from recbole.utils import get_model\n"
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
    assert "'recbole_hill.model.hill', 'recbole_hill.model.mended'" in out
    assert "'recbole.model.general_recommender.bpr'" in out and "HILLTrainer" in out


def test_registering_twice_is_once(tmp_path):
    code = REGISTERED + "recbole_hill.register(); from recbole.config import Config; print(1)"
    assert python(code, tmp_path) == "1\n"


@pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import ray"], capture_output=True).returncode != 0,
    reason="recbole.quick_start imports Ray, which is not installed",
)
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
        "from recbole_hill.trainer import trainer_for;"
        "print(type(model).__name__, model.index.nodes_per_depth);"
        "config['run_dir'] = 'again'; t = trainer_for(config, model);"
        "t.eval_collector.data_collect(train);"
        "print(t.evaluate(test, load_best_model=False)['recall@20'])"
    )
    first, middle, last = python(code, tmp_path).strip().splitlines()[-3:]
    assert middle == "HILL (40, 8)"
    assert first == last and float(first) > 0.05
