"""The titles in a dataset's ``.item`` file, which a run keeps for its explanations."""

from collections.abc import Sequence
from pathlib import Path

from recbole_hill.data.headers import read_header
from recbole_hill.host.parsing import text_encoding

#: Columns that hold a title, beside ``title`` and those that end with ``_title``.
_NAMES = ("name", "item_name", "product_name", "app_name")


def titles_of(config) -> dict[str, str]:
    """Returns the titles of a dataset's items by external id; empty without a column of titles.

    A line that is too short has none.

    Args:
        config: Configuration of a run.
    """
    file = Path(config["data_path"]) / f"{config['dataset']}.item"
    if not file.is_file():
        return {}
    separator, item = config["field_separator"], config["ITEM_ID_FIELD"]
    encoding = text_encoding(config["encoding"])
    columns = read_header(file, separator, encoding, (item,))
    column = title_column(columns)
    if column is None:
        return {}
    places = columns.index(item), columns.index(column)
    titles: dict[str, str] = {}
    with open(file, encoding=encoding, errors="replace") as lines:
        next(lines)
        for line in lines:
            fields = line.rstrip("\n").split(separator)
            if len(fields) > max(places) and fields[places[1]]:
                titles.setdefault(*(fields[place] for place in places))
    return titles


def title_column(columns: Sequence[str]) -> str | None:
    """Returns the column that is plainly of titles, ``movie_title`` before ``name``; or None."""
    titles = [name for name in columns if name.lower() == "title"]
    titles += [name for name in columns if name.lower().endswith("_title")]
    titles += [name for name in columns if name.lower() in _NAMES]
    return titles[0] if titles else None
