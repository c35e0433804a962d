"""Shared fixtures: a small planted dataset, and runs on it in temporary folders."""

import gzip
import importlib
import os
import sys
from contextlib import contextmanager
from pathlib import Path

# Set before torch is imported: threads that spin at barriers stall the suite when another process
# needs a core.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Set before Ray is imported: the clusters of the tests are on the loopback interface.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import numpy as np
import pytest

from recbole_hill import plugins
from recbole_hill.config.properties import internal_defaults, recbole_defaults
from recbole_hill.data.prepare.lightgcn import prepare
from recbole_hill.registry import LEARNERS, MODELS, SELECTORS

# What imports torch is imported where it is used: the process that starts the workers of pytest
# reads this file too, and they wait for it.

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

#: Settings that make every stage of a HILL run on the tiny dataset take a second.
FAST = {
    "epochs": 4,
    "train_batch_size": 256,
    "embedding_size": 16,
    "ssl_warmup_epochs": 1,
    "nodes_per_depth": [12, 4],
    "em_rounds": 1,
    "ttt_epochs": 2,
    "beam_width": 2,
    "interest_thresholds": [0.4, 0.2],
    "topk": [5, 10],
    "valid_metric": "NDCG@10",
    "show_progress": False,
    "state": "ERROR",
    "threads": 1,
}


@pytest.fixture(scope="module")
def import_benchmark():
    """Imports a script of benchmarks/ by its name, as the scripts import each other."""
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module
    sys.path.remove(str(BENCHMARKS))
    for name, module in list(sys.modules.items()):  # docs/_build has modules of the same names
        if str(getattr(module, "__file__", None)).startswith(str(BENCHMARKS)):
            del sys.modules[name]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The verified LightGCN splits beside the checkout; skips the test if they are not there."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"{SHARED_DATA} is not on this machine")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory) -> Path:
    """A data path with the dataset ``tiny``: 80 users and 48 items in four planted groups."""
    root = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    train, test = [], []
    for user in range(80):
        group = np.arange(48).reshape(4, 12)[user % 4]
        liked = rng.permutation(group)[:9].tolist()
        other = rng.integers(0, 48, 2).tolist()
        liked += [item for item in dict.fromkeys(other) if item not in liked]
        train.append(" ".join(map(str, [user, *liked[2:]])))
        test.append(" ".join(map(str, [user, *liked[:2]])))
    (root / "train.txt").write_text("\n".join(train) + "\n")
    with gzip.open(root / "test.txt.gz", "wt") as file:
        file.write("\n".join(test) + "\n")
    prepare("tiny", root, root / "dataset")
    return root / "dataset"


@pytest.fixture(scope="session")
def run_folder(tiny_path, tmp_path_factory) -> Path:
    """The folder of a finished HILL run on the tiny dataset."""
    root = tmp_path_factory.mktemp("saved")
    from recbole_hill.pipeline import run

    settings = tiny_settings(tiny_path, "HILL", checkpoint_dir=str(root), adapt_control=[])
    return run("HILL", "tiny", overrides=settings).folder


@pytest.fixture(scope="session", autouse=True)
def no_wait_for_the_disk():
    """Leaves files to the system's cache: only a power cut could tell, and no test makes one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@contextmanager
def _names_kept():
    """Forgets after the block the names that it added, by plugins or otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        for known in (MODELS, LEARNERS, SELECTORS):
            known.entries()  # the plugins of installed packages, imported once, stay
            patch.setattr(known, "_added", dict(known._added))
        patch.setattr(plugins, "_loaded", dict(plugins._loaded))
        yield


@pytest.fixture(scope="module", autouse=True)
def plugins_of_the_module():
    """Forgets the names that fixtures of a module added."""
    with _names_kept():
        yield


@pytest.fixture(autouse=True)
def forgotten_plugins(plugins_of_the_module):
    """Forgets the names that a test added."""
    with _names_kept():
        yield


@pytest.fixture
def in_tmp(tmp_path, monkeypatch) -> Path:
    """Runs the test in an empty folder, so that relative paths of outputs lead there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tiny_config(tiny_path, in_tmp):
    """Returns a function that builds a configuration: ``tiny_config("HILL", ttt_epochs=1)``."""
    from recbole_hill.config.config import HillConfig

    def build(model: str, **overrides) -> HillConfig:
        return HillConfig(model, "tiny", None, tiny_settings(tiny_path, model, **overrides))

    return build


@pytest.fixture
def build(tiny_path, tmp_path):
    """Returns a function that builds a model on the tiny dataset; it returns the model and a batch.

    The model is in training mode and has the weights of the seed.
    """
    from recbole_hill.config.config import HillConfig
    from recbole_hill.data.splits import load_data
    from recbole_hill.model.build import build_model

    def build(name: str, **changes):
        settings = tiny_settings(tiny_path, name, run_dir=str(tmp_path), **changes)
        config = HillConfig(name, "tiny", None, settings)
        data = load_data(config)
        return build_model(config, data).train(), next(iter(data.train))

    return build


def tiny_settings(tiny_path: Path, model: str, **overrides) -> dict:
    """Returns the fast settings that the model knows, with the overrides."""
    known = internal_defaults(model, "tiny") | recbole_defaults("overall.yaml")
    fast = {key: value for key, value in FAST.items() if key in known}
    return {**fast, "data_path": str(tiny_path), **overrides}
