"""Files by pandas' C parser: plain fields, and else what RecBole's parser makes of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import recbole
from pandas.testing import assert_frame_equal
from recbole.data.dataset import dataset as recbole_dataset

from recbole_hill.host.parsing import c_parser, read_csv

DTYPE = {"user_id:token": str, "tags:token_seq": str, "rating:float": np.float64}
HEADER = "\t".join(DTYPE)


def settings(delimiter: str = "\t", dtype=DTYPE) -> dict:
    """Returns what RecBole asks pandas for."""
    columns = {"dtype": dtype, "usecols": list(dtype)}
    return {"delimiter": delimiter, "engine": "python", "encoding": "utf-8", **columns}


def both(path: Path, *given, **named):
    """Reads a file as here and as RecBole would."""
    asked = settings(*given, **named)
    return read_csv(path, **asked), pd.read_csv(path, **asked)


@pytest.mark.parametrize("delimiter", ["\t", ",", "::"])
def test_fields_are_plain(tmp_path, delimiter):
    """Leading zeros, quotes, what looks missing, short, long and blank lines, an umlaut."""
    lines = {
        "007\trock pop\t1": ("007", "rock pop", 1),
        '"a b"\t"he said ""no"""\t-0': ('"a b"', '"he said ""no"""', 0),
        'NA\t"7 inch\tNA': ("NA", '"7 inch', np.nan),
        "short": ("short", np.nan, np.nan),
        "": None,
        "\tnan\tnan": (np.nan, "nan", np.nan),
        'null\tNone"\t5\t6': ("null", 'None"', 5),
        "ü'x\t \t 1e-5": ("ü'x", " ", 1e-5),
    }
    path = tmp_path / "x.inter"
    text = "\n".join([HEADER, *lines]).replace("\t", delimiter)
    path.write_text(text + "\n\n", encoding="utf-8")
    expected = pd.DataFrame(
        [fields for fields in lines.values() if fields],
        index=[0, 1, 2, 3, 5, 6, 7],  # of the line
        columns=list(DTYPE),
    )
    assert_frame_equal(read_csv(path, **settings(delimiter)), expected, check_exact=True)


def test_spaces_are_part_of_an_id(tmp_path):
    path = tmp_path / "x.inter"
    path.write_text(f"{HEADER}\n u1\ta\t1\nu1\ta \t1\n  \tb\t2\n")
    table = read_csv(path, **settings())
    assert table["user_id:token"].tolist() == [" u1", "u1", "  "]
    assert table["tags:token_seq"].tolist() == ["a", "a ", "b"]


def test_same_decimals(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.standard_normal(20_000) * 10.0 ** rng.integers(-20, 20, 20_000)
    path = tmp_path / "x.inter"
    path.write_text("rating:float\n" + "\n".join(f"{value:.17g}" for value in values))
    ours, theirs = both(path, dtype={"rating:float": np.float64})
    assert_frame_equal(ours, theirs, check_exact=True, check_index_type=False)


@pytest.mark.parametrize("suffix", ["inter", "item", "user"])
def test_same_table_of_ml100k(suffix):
    (path,) = Path(recbole.__file__).parent.rglob(f"ml-100k.{suffix}")
    columns = path.read_text(encoding="utf-8").split("\n", 1)[0].split("\t")
    dtype = {name: np.float64 if name.endswith(":float") else str for name in columns}
    assert_frame_equal(*both(path, dtype=dtype), check_exact=True, check_index_type=False)


def test_error_names_the_column(tmp_path):
    path = tmp_path / "x.inter"
    path.write_text(f"{HEADER}\na\tb\tmany\n")
    with pytest.raises(ValueError, match=r"x\.inter, line 2: rating:float 'many' is no number"):
        read_csv(path, **settings())


def test_recbole_reads_by_it_only_inside():
    with pytest.raises(KeyError), c_parser():
        assert recbole_dataset.pd.read_csv is read_csv
        assert recbole_dataset.pd.DataFrame is pd.DataFrame
        raise KeyError
    assert recbole_dataset.pd is pd
