"""Checks the headers of RecBole's files before RecBole reads them."""

from collections.abc import Sequence
from pathlib import Path

from recbole.utils import FeatureType

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
    for name, needed in files.items():
        if (folder / name).is_file():
            _require_header(folder / name, config, needed)


def _require_header(path: Path, config, needed: Sequence[str]) -> None:
    try:
        with open(path, encoding=config["encoding"]) as file:
            first = file.readline().rstrip("\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not in encoding {config['encoding']}: {error}; write it with `prepare`, or "
            "set encoding"
        ) from error
    separator = config["field_separator"]
    accepted = (
        f"accepted are names with types, such as user_id:token and rating:float, separated by "
        f"{separator!r} (field_separator)"
    )
    names = []
    for field in first.split(separator):
        name, _, kind = field.partition(":")
        if reason := _fault(field, name, kind, names):
            raise ValueError(f"{path}, line 1: {field[:60]!r} {reason}; {accepted}")
        names.append(name)
    for name in needed:
        if name is not None and name not in names:
            raise ValueError(
                f"{path}, line 1: no column is called {name!r}; the columns are "
                f"{', '.join(names)} (USER_ID_FIELD and ITEM_ID_FIELD say which are the ids)"
            )


def _fault(field: str, name: str, kind: str, before: Sequence[str]) -> str | None:
    """Returns what is wrong with a field of a header, or None."""
    if '"' in field:
        return "stands in quotes, which are part of a name here"
    if not name or not kind or ":" in kind:
        return "is no name with a type"
    if kind not in _TYPES:
        return f"has an unknown type (known are {', '.join(_TYPES)})"
    return "comes twice" if name in before else None
