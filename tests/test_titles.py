"""Titles of items: from the dataset's file into the run's folder, and from there into a path."""

import re
import shutil

import pytest
from conftest import tiny_settings

from recbole_hill.config.config import HillConfig
from recbole_hill.data.item_file import title_column, titles_of
from recbole_hill.data.titles import TITLES, read_titles, save_titles
from recbole_hill.pipeline import run
from recbole_hill.serve.loaded_run import LoadedRun
from recbole_hill.serve.open_run import open_run


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        (["item_id", "movie_title", "release_year"], "movie_title"),
        (["item_id", "name", "Title"], "Title"),  # a title before a name, in any case
        (["item_id", "brand_name", "item_name"], "item_name"),
        (["item_id", "category_name", "year"], None),
        (["item_id", "subtitle"], None),
    ],
)
def test_the_column_that_is_plainly_of_titles(columns, column):
    assert title_column(columns) == column


def test_titles_of_ml_100k():
    titles = titles_of(HillConfig("Pop", "ml-100k", None, {"state": "ERROR"}))
    assert len(titles) == 1682
    assert (titles["1"], titles["50"]) == ("Toy Story", "Star Wars")


@pytest.fixture
def titled(tiny_path, tmp_path):
    """A data path with ``tiny`` and a file of its items."""
    path = tmp_path / "dataset"
    shutil.copytree(tiny_path, path)
    lines = ["item_id:token\tyear:float\tname:token_seq"]
    lines += [f'{item}\t1990\tFilm "No. {item}"' for item in range(46)]
    lines += ["46\t1990\t", "47"]  # no title, and a line that is too short
    (path / "tiny" / "tiny.item").write_text("\r\n".join(lines) + "\r\n")
    return path


def test_a_path_shows_titles_without_the_dataset(titled, tmp_path):
    settings = tiny_settings(titled, "HILL", run_dir=str(tmp_path / "run"), adapt_control=[])
    folder = run("HILL", "tiny", overrides=settings).folder
    assert read_titles(folder) == {str(item): f'Film "No. {item}"' for item in range(46)}
    text = LoadedRun.load(folder).explain("42", 6)
    shutil.rmtree(titled)
    assert open_run(folder).explain("42", 6) == text
    for item in re.findall(r"item +(\d+)", text):
        named = rf"item +{item}(  score .*  nodes [\d >]*\d  |, )Film \"No\. {item}\"$"
        assert re.search(named, text, re.MULTILINE) or item in ("46", "47")
    assert text.count("Film") >= 16
    file = folder / TITLES
    file.write_text(file.read_text().replace("Film", "Fil"))
    with pytest.raises(ValueError, match=r"titles.json was changed after the run"):
        open_run(folder).explain("42", 6)


def test_without_titles_no_file_is_written(tmp_path):
    save_titles(tmp_path, {"a": "A"}, ["b"])
    assert not list(tmp_path.iterdir()) and read_titles(tmp_path) == {}
