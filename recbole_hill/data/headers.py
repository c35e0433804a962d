"""Checks the headers of RecBole's files before RecBole reads them."""

from collections.abc import Collection, Sequence
from pathlib import Path

from recbole.utils import FeatureType

from recbole_hill.host.parsing import text_encoding

_TYPES = tuple(kind.value for kind in FeatureType)


def require_headers(config, folder: Path, interactions: Sequence[str]) -> None:
    """Refuses a file of interactions, users or items whose first line RecBole cannot read.

    Args:
        config: RecBole's Config.
        folder: The dataset's folder.
        interactions: Names of the files with interactions.

    Raises:
        ValueError: Names the file, line 1, the part of it that is wrong, and what is accepted.
    """
    user, item = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]
    files = {name: (user, item) for name in interactions}
    files |= {f"{config['dataset']}.{end}": (key,) for end, key in (("user", user), ("item", item))}
    separator, encoding = config["field_separator"], text_encoding(config["encoding"])
    for name, ids in files.items():
        if not (folder / name).is_file():
            continue
        names = read_header(folder / name, separator, encoding, ids)
        for needed in ids:
            if needed is not None and needed not in names:
                raise ValueError(
                    f"{folder / name}, line 1: no column is called {needed!r}; the columns are "
                    f"{', '.join(names)} (USER_ID_FIELD and ITEM_ID_FIELD say which are the ids)"
                )


def read_header(path: Path, separator: str, encoding: str, ids: Collection[str]) -> list[str]:
    """Returns the names of a file's columns.

    Args:
        path: The file.
        separator: The text between fields.
        encoding: The file's encoding; ``utf-8-sig`` for UTF-8.
        ids: Names of the columns of ids, which must be tokens.

    Raises:
        ValueError: If the file is compressed or in another encoding, or if its first line does not
            name columns and their types.
    """
    with open(path, "rb") as file:
        if file.read(2) == b"\x1f\x8b":
            raise ValueError(f"{path} is compressed; accepted is plain text (gzip -d)")
    try:
        with open(path, encoding=encoding) as file:
            first = file.readline().rstrip("\n")
    except UnicodeDecodeError as error:
        raise undecodable(path, "", encoding) from error
    names: list[str] = []
    for field in first.split(separator):
        name, _, kind = field.partition(":")
        if reason := _fault(field, name, kind, names, ids):
            raise ValueError(
                f"{path}, line 1: {field[:60]!r} {reason}; accepted are names with types, such as "
                f"user_id:token and rating:float, separated by {separator!r} (field_separator)"
            )
        names.append(name)
    return names


def undecodable(path: Path, line: str, encoding: str) -> ValueError:
    """Returns the error of a file that is in another encoding.

    Args:
        path: The file.
        line: The place in it, such as ``, line 3``; may be empty.
        encoding: The encoding in which it was read.
    """
    encoding = encoding.removesuffix("-sig")
    return ValueError(
        f"{path}{line} is no text in {encoding}; accepted is {encoding}, or the setting "
        "encoding that names the file's own"
    )


def _fault(
    field: str, name: str, kind: str, before: Sequence[str], ids: Collection[str]
) -> str | None:
    """Returns what is wrong with a field of a header, or None."""
    if '"' in field:
        return "stands in quotes, which are part of a name here"
    if not name or not kind or ":" in kind:
        return "is no name with a type"
    if kind not in _TYPES:
        return f"has an unknown type (known are {', '.join(_TYPES)})"
    if name in ids and kind != FeatureType.TOKEN.value:
        return "names ids, which must be of type token"
    return "comes twice" if name in before else None
