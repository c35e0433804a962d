"""The behaviour contract over every baseline, at settings that the tiny dataset can bear."""

import contract
import pytest
import yaml
from tiny_models import MODELS, NEEDS

from recbole_hill import registry
from recbole_hill.data.lightgcn import prepare
from recbole_hill.properties_path import properties


@pytest.fixture(scope="session")
def sparse_path(tmp_path_factory):
    """Users with one train item, an item seen once, and a test item that train never saw."""
    root = tmp_path_factory.mktemp("sparse")
    (root / "train.txt").write_text("0 0 1 2\n1 0\n2 1 2 3\n3 2\n4 0 1 2 3 4\n5 1 2\n")
    (root / "test.txt").write_text("0 3\n1 2\n2 0\n3 5\n")
    prepare("sparse", root, root / "dataset")
    return root / "dataset"


@pytest.fixture
def name(request):
    """A model's name; skips where its optional library is missing."""
    if request.param in NEEDS:
        contract.skip_without(NEEDS[request.param])
    return request.param


@pytest.mark.parametrize("name", MODELS, indirect=True)
class TestContract:
    """Every check for every model."""

    def test_training(self, name, tiny_path, tmp_path):
        contract.check_training(name, tiny_path, tmp_path, **MODELS[name][1])

    def test_scores(self, name, tiny_path, tmp_path):
        contract.check_scores(name, tiny_path, tmp_path, **{**MODELS[name][1], "epochs": 2})

    def test_reload(self, name, tiny_path, tmp_path):
        contract.check_reload(name, tiny_path, tmp_path, **{**MODELS[name][1], "epochs": 2})

    def test_learns(self, name, tiny_path, tmp_path):
        least, changes = MODELS[name]
        contract.check_learns(name, tiny_path, tmp_path, least, **changes)

    def test_sparse_data(self, name, sparse_path, tmp_path):
        small = {"train_batch_size": 8}
        contract.check_sparse_data(
            name, sparse_path, tmp_path, **{**MODELS[name][1], **small, "epochs": 1}
        )


def test_every_baseline_is_under_the_contract():
    """Table 3's rows and those beside it, wherever the class is from; HILL has its own tests."""
    table = yaml.safe_load(properties("table", "3.yaml").read_text())
    rows = {*table["rows"], *table["beyond"]} - {"HILL"}
    own = {e.name for e in registry.entries() if e.path.startswith("recbole_hill.model.baselines")}
    assert own | rows == set(MODELS)
