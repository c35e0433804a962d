"""Files by pandas' C parser: what the parser that RecBole names makes of them."""

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
def test_same_table(tmp_path, delimiter):
    """Leading zeros, quotes, missing values, short, long and blank lines, an umlaut."""
    lines = [
        HEADER,
        "007\trock pop\t1",
        '"a b"\t"he said ""no"""\t-0',
        "NA\t\t",
        "short",
        "",
        "null\t4\t5\t6",
        "ü'x\t \t 1e-5",
    ]
    path = tmp_path / "x.inter"
    path.write_text("\n".join(lines).replace("\t", delimiter) + "\n", encoding="utf-8")
    ours, theirs = both(path, delimiter)
    assert_frame_equal(ours, theirs, check_exact=True)
    assert ours["user_id:token"][0] == "007"


def test_same_decimals(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.standard_normal(20_000) * 10.0 ** rng.integers(-20, 20, 20_000)
    path = tmp_path / "x.inter"
    path.write_text("rating:float\n" + "\n".join(f"{value:.17g}" for value in values))
    ours, theirs = both(path, dtype={"rating:float": np.float64})
    assert_frame_equal(ours, theirs, check_exact=True)


@pytest.mark.parametrize("suffix", ["inter", "item", "user"])
def test_same_table_of_ml100k(suffix):
    (path,) = Path(recbole.__file__).parent.rglob(f"ml-100k.{suffix}")
    columns = path.read_text(encoding="utf-8").split("\n", 1)[0].split("\t")
    dtype = {name: np.float64 if name.endswith(":float") else str for name in columns}
    assert_frame_equal(*both(path, dtype=dtype), check_exact=True)


def test_error_names_the_column(tmp_path):
    path = tmp_path / "x.inter"
    path.write_text(f"{HEADER}\na\tb\tmany\n")
    with pytest.raises(ValueError, match="column rating:float"):
        read_csv(path, **settings())


def test_text_after_a_closing_quote(tmp_path):
    path = tmp_path / "x.inter"
    path.write_text(f'{HEADER}\n"Cats" (1998)\tb\t1\n')
    assert read_csv(path, **settings())["user_id:token"].tolist() == ["Cats (1998)"]
    with pytest.raises(pd.errors.ParserError):
        pd.read_csv(path, **settings())


def test_recbole_reads_by_it_only_inside():
    with pytest.raises(KeyError), c_parser():
        assert recbole_dataset.pd.read_csv is read_csv
        assert recbole_dataset.pd.DataFrame is pd.DataFrame
        raise KeyError
    assert recbole_dataset.pd is pd
