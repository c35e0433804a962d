"""The registry: every name resolves, and no name is given twice."""

import subprocess
import sys

import pytest
import torch

from recbole_hill import plugins, registry
from recbole_hill.catalogue import CATALOGUE
from recbole_hill.config.properties import read_properties
from recbole_hill.registry import ModelEntry

SEQUENTIAL = "recbole.model.sequential_recommender"
SASREC = """
from recbole.model.sequential_recommender.sasrec import SASRec

from recbole_hill import plugins


@plugins.model("MySASRec", citation="Ada Lovelace. 1843.")
class MySASRec(SASRec):
    pass
"""


def test_every_own_entry_has_class_citation_and_settings():
    for entry in registry.entries():
        if entry.origin == "recbole":
            continue
        assert entry.load().__name__ == entry.path.split(":")[1]
        assert entry.citation, entry.name
        if entry.origin == "own":
            assert read_properties("model", f"{entry.name}.yaml"), entry.name


def test_recbole_models_are_found_without_importing_them():
    models = registry.recbole_models()
    assert {"BPR", "LightGCN", "SASRec", "DeepFM", "KGAT", "MultiVAE"} <= set(models)
    assert "Rendle" in models["BPR"].citation
    for name in ("BPR", "SASRec", "DeepFM"):
        assert models[name].load().__name__ == name


@pytest.mark.parametrize("name", ["GRU4Rec", "MySASRec"])
def test_a_sequential_model_leaves_anomaly_detection_off(name, tmp_path, monkeypatch):
    """RecBole's module of SINE, which its package imports, turns it on for the whole process."""
    for module in [module for module in sys.modules if module.startswith(SEQUENTIAL)]:
        monkeypatch.delitem(sys.modules, module)
    assert not torch.is_anomaly_enabled()
    if name == "MySASRec":
        (tmp_path / "mine.py").write_text(SASREC)
        plugins.load(tmp_path / "mine.py")
    assert registry.find(name).load().__name__ == name
    assert f"{SEQUENTIAL}.sine" in sys.modules
    assert not torch.is_anomaly_enabled()


@pytest.mark.parametrize("enabled", [True, False])
def test_anomaly_detection_that_the_program_wants_stays(enabled):
    with torch.autograd.set_detect_anomaly(enabled):
        registry.find("GRU4Rec").load()
        assert torch.is_anomaly_enabled() == enabled


def test_mended_models_replace_recboles_in_the_list():
    names = [entry.name for entry in registry.entries()]
    assert len(names) == len(set(names))
    assert registry.find("LightGCN").origin == "recbole, patched"


@pytest.mark.parametrize("name", ["HILL", "hill", "SUPCCL", "BPR"])
def test_duplicates_are_refused(name):
    with pytest.raises(ValueError, match=f"'{name}' is already registered"):
        registry.add(ModelEntry(name, "x:Y", "own", "nobody"))


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        *[("SUPCCL", "NESCL"), ("MultiVAE", "Mult-VAE"), ("GCMC", "GC-MC"), ("SGL", "SGL-ED")],
        *[("LightGCNpp", "LightGCN++"), ("LightGCN++BSL", "LightGCN++-BSL")],
        *[("SGLED", "SGL-ED"), ("BSPMLM", "BSPM-LM"), ("MFBSL", "MF-BSL"), ("BSPM", "BSPM-LM")],
    ],
)
def test_alias_finds_the_model(alias, name):
    assert registry.find(alias).name == name


def test_every_spelling_finds_its_model_and_no_other():
    seen = []
    for name, path, _, _, *aliases in CATALOGUE:
        spellings = {name, name.replace("-", ""), *aliases}
        for spelling in spellings:
            found = registry.find(spelling)
            assert (found.name, found.path) == (name, path), spelling
        assert spellings == {found.name, *found.aliases}
        seen += spellings
    assert len(seen) == len(set(seen))


def test_a_name_taken_from_recbole_is_marked_and_recboles_stays_reachable():
    theirs = registry.recbole_models()
    for entry in registry.entries():
        for spelling in {entry.name, *entry.aliases} & set(theirs):
            if entry.origin == registry.REPLACES:
                assert entry.path.startswith("recbole_hill.model.baselines"), spelling
                assert registry.find(f"recbole.{spelling}").origin.startswith("recbole")
            else:
                assert entry.origin.startswith("recbole"), spelling


def test_a_run_says_that_the_class_is_not_recboles():
    assert registry.replaced(registry.find("SGL-ED")) == "recbole.SGL"
    assert registry.replaced(registry.find("BPR")) == "recbole.BPR"
    for name in ("NESCL", "LightGCN", "recbole.BPR", "DMF"):
        assert registry.replaced(registry.find(name)) is None


def test_a_class_of_ours_takes_no_settings_from_the_recbole_class_of_its_name(tiny_config):
    assert tiny_config("recbole.ENMF")["negative_weight"] == 0.5  # RecBole's default
    with pytest.raises(ValueError, match="unknown key 'dropout_prob' for model ENMF"):
        tiny_config("ENMF", dropout_prob=0.3)
    assert tiny_config("recbole.ENMF", dropout_prob=0.3)["dropout_prob"] == 0.3


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, recbole_hill, recbole_hill.registry;"
        "heavy = {'torch', 'faiss', 'ray', 'recbole.config', 'torch_geometric'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_traits_are_those_of_the_classes():
    """The catalogue states them, so that `models` imports no model; here the classes are asked."""
    from recbole.utils import ModelType

    from recbole_hill.labelled.model import LabelledModel
    from recbole_hill.model.backbone import has_embeddings
    from recbole_hill.model.bases.skip_gram import SkipGramModel
    from recbole_hill.model.hill import HILL

    needs = {
        ModelType.CONTEXT: "needs labels and features",
        ModelType.KNOWLEDGE: "needs a knowledge graph",
        ModelType.SEQUENTIAL: "needs times",
    }
    for entry in registry.entries():
        if "exlib" in entry.path:  # their libraries are not installed
            continue
        kind = entry.load()
        fits = getattr(kind, "type", None) is ModelType.TRADITIONAL or hasattr(kind, "fit_once")
        vectors = has_embeddings(kind) and not issubclass(kind, (HILL, LabelledModel))
        vectors = vectors or (hasattr(kind, "row_logits") and not hasattr(kind, "index"))
        found = ["backbone"] * vectors
        found += ["no training"] * (fits and not issubclass(kind, (SkipGramModel, HILL)))
        labelled = issubclass(kind, LabelledModel)
        need = needs[ModelType.CONTEXT] if labelled else needs.get(getattr(kind, "type", None))
        assert registry.traits(entry) == found + [need] * (need is not None), entry.name
