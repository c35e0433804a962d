"""Table 3 is complete: every row has its class, its settings and its citation."""

import pytest

from recbole_hill import registry
from recbole_hill.config.properties import properties, read_properties

TABLE = read_properties("table", "3.yaml")
ROWS = [name for name in TABLE["rows"] if name != "HILL"]


#: The paper's baselines in its order, read off by eye.
NAMES = (
    *("BPR", "GRMF", "GRMF-norm", "HOP-Rec", "ENMF", "MF-CCL", "SimpleX", "NeuMF", "Mult-VAE"),
    *("Macrid-VAE", "YouTubeNet", "CMN", "CML", "DeepWalk", "LINE", "Node2Vec", "Item2Vec", "GAT"),
    *("JKNet", "DropEdge", "APPNP", "DisenGCN", "LightGCN", "GC-MC", "PinSage", "NIA-GCN"),
    *("SGL-ED", "DeosGCF", "IMP-GCN", "BUIR", "DGCF", "IA-GCN", "LT-OCF", "HMLET", "GTN", "MGDCF"),
    *("BSPM-LM", "NESCL"),
)


@pytest.mark.parametrize("name", ["HILL", *ROWS, *TABLE["beyond"]])
def test_row_has_class_settings_and_citation(name):
    entry = registry.find(name)
    assert entry.name == name and isinstance(entry.load(), type)
    assert read_properties("model", f"{name}.yaml")
    assert entry.citation.rstrip(".")[-4:].isdigit()
    assert entry.load().__doc__


def test_table_3_has_38_rows_and_their_numbers():
    assert tuple(ROWS) == NAMES and len(set(NAMES)) == 38
    for name, row in TABLE["rows"].items():
        numbers = set(row) - {"note", "starts_from"}
        assert numbers == {"gowalla", "yelp2018", "amazon-book"}, name
        assert row.get("note", "cml") in TABLE["notes"]
    # Read off the paper by eye.
    assert TABLE["rows"]["HILL"]["gowalla"] == [0.1924, 0.1628]
    assert TABLE["rows"]["JKNet"]["amazon-book"] == [0.0268, 0.0343]


@pytest.mark.parametrize("name", [*ROWS, *TABLE["beyond"]])
def test_settings_say_what_they_are(name):
    """Every key of a model's YAML stands with its meaning, published or chosen."""
    text = properties("model", f"{name}.yaml")
    if not text.is_file():  # RecBole's own defaults
        pytest.skip(f"{name} has no settings of ours")
    head, _, _ = text.read_text().partition("per_dataset:")
    common = read_properties("overall.yaml")  # explained there
    for line in filter(str.strip, head.splitlines()):
        assert "#" in line or line.partition(":")[0] in common, f"{name}: {line}"
