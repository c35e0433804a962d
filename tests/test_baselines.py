"""The behaviour contract over every baseline, at settings that the tiny dataset can bear."""

import re

import contract
import pytest
import yaml
from tiny_models import MODELS, NEEDS, SLOW_TO_LEARN

from recbole_hill import registry
from recbole_hill.config.properties import properties
from recbole_hill.data.prepare.lightgcn import prepare

FILTERS = ("GF-CF", "BSPM-LM", "BSPM-EM", "ChebyCF", "PGSP")
SOFTMAX = ("MF-SSM", "LightGCN-SSM", "MF-BSL", "LightGCN-BSL", "MF-SLK", "LightGCN-SLK")
WITHOUT_L2 = ("CML", "HOP-Rec", "UltraGCN", "BUIR")


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


#: For checks of several trainings: the slow models are left to the slow suite.
quick_models = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW_TO_LEARN else [])
        for name in MODELS
    ],
    indirect=True,
)


@quick_models
def test_learns(name, tiny_path, tmp_path):
    least, changes = MODELS[name]
    contract.check_learns(name, tiny_path, tmp_path, least, **changes)


@quick_models
def test_reload(name, tiny_path, tmp_path):
    contract.check_reload(name, tiny_path, tmp_path, **{**MODELS[name][1], "epochs": 1})


@pytest.mark.parametrize("name", MODELS, indirect=True)
class TestContract:
    """Every check for every model."""

    def test_training_and_scores(self, name, tiny_path, tmp_path):
        contract.check_training_and_scores(name, tiny_path, tmp_path, **MODELS[name][1])

    def test_sparse_data(self, name, sparse_path, tmp_path):
        small = {"train_batch_size": 8}
        contract.check_sparse_data(
            name, sparse_path, tmp_path, **{**MODELS[name][1], **small, "epochs": 1}
        )


@pytest.mark.parametrize(
    ("name", "changes", "accepted"),
    [
        ("HOP-Rec", {"n_hops": 0}, "an integer >= 1"),
        ("BSPM-LM", {"n_steps": 0}, "an integer >= 1"),
        ("DGCF", {"n_iterations": 0}, "an integer >= 1"),
        ("IMP-GCN", {"n_groups": 2.5}, "an integer >= 1"),
        ("NESCL", {"n_layers": 0, "with_ego": False}, "an integer >= 1"),
        ("GF-CF", {"ideal_rank": -1}, "an integer >= 0"),
        ("UltraGCN", {"pair_weights": [1, 2, 3]}, "a list of 4 numbers"),
        ("UltraGCN", {"pair_weights": 1.0}, "a list of 4 numbers"),
        ("SimpleX", {"gamma": 1.5}, r"a number in \[0, 1\]"),
        ("BUIR", {"momentum": -0.1}, r"a number in \[0, 1\]"),
        ("DeosGCF", {"edge_dropout": 1.0}, r"a number in \[0, 1\)"),
        ("SGL-ED", {"edge_dropout": 1.0}, r"a number in \[0, 1\)"),
        ("LT-OCF", {"learning_rate": 0.0}, "a number above 0"),
        ("PGSP", {"ideal_weight": 1.5}, r"a number in \[0, 1\]"),
        ("RDLAE", {"reg_weight": 0.0}, "a number above 0"),
        ("RDLAE", {"dropout_rate": 1.0}, r"a number in \[0, 1\)"),
        ("RDLAE", {"diagonal_bound": 1.5}, r"a number in \[0, 1\]"),
        ("HMLET", {"temperature": 0.0}, "a number above 0"),
        ("HMLET", {"least_temperature": 0.0}, "a number above 0"),
        *[(name, {"ideal_weight": 0.1, "ideal_rank": 0}, "0 at ideal_rank 0") for name in FILTERS],
        *[(name, {"reg_weight": 0.1}, "left out for") for name in WITHOUT_L2],
        *[(name, {"n_layers": 0}, "an integer >= 1") for name in ("EGCF", "LightGCN++")],
        ("LightGCN++-BSL", {"n_layers": 0}, "an integer >= 1"),
        *[(name, {"ssl_tau": 0.02}, "at least 0.025") for name in ("SGL-ED", "EGCF")],
        *[(name, {"tau": 0.02, "rivals": "batch"}, "at least 0.025") for name in SOFTMAX],
        *[(name, {"tau": 0.0, "rivals": "uniform"}, "a number above 0") for name in SOFTMAX],
        ("MF-SSM", {"tau": 0.02, "rivals": "shared"}, "at least 0.025"),
        ("MF-Talos", {"loss_k": 49}, "at most the 48 items"),
        ("MF-SLK", {"loss_k": 1001}, r"an integer in \[1, 1000\]"),
        ("LightGCN-SLK", {"weight_tau": 0.0}, "a number above 0"),
    ],
)
def test_a_setting_out_of_bounds_is_named(build, name, changes, accepted):
    key, value = next(iter(changes.items()))
    message = rf"^{key} must be {accepted}.*, got {re.escape(str(value))}$"
    with pytest.raises(ValueError, match=message):
        build(name, **changes)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *[(name, {"reg_weight": 0.0}) for name in WITHOUT_L2],
        *[(name, {"tau": 0.01, "rivals": "uniform"}) for name in SOFTMAX],
        ("NESCL", {"n_layers": 0, "with_ego": True}),
        ("BSPM-LM", {"ideal_rank": 0, "ideal_weight": 0.0}),
    ],
)
def test_a_setting_at_its_bound_is_taken(build, name, changes):
    build(name, **changes)


def test_every_baseline_is_under_the_contract():
    """Table 3's rows and those beside it, wherever the class is from; HILL has its own tests."""
    table = yaml.safe_load(properties("table", "3.yaml").read_text())
    rows = {*table["rows"], *table["beyond"]} - {"HILL"}
    own = {e.name for e in registry.entries() if e.path.startswith("recbole_hill.model.baselines")}
    assert own | rows == set(MODELS)
