"""What to do where a dataset's files are not there: the command to type, or the name meant."""

import difflib
import shlex
from pathlib import Path

from recbole_hill.config.properties import properties
from recbole_hill.data.prepare.files import SourceFile

#: Ends of a file beside the dataset's folder that may hold its rows.
_BESIDE = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".jsonl", ".jsonl.gz", ".parquet")


def no_dataset(folder: Path, name: str, file: str) -> FileNotFoundError:
    """Returns the error for a dataset that lacks a file.

    Args:
        folder: The dataset's folder, which need not exist.
        name: The dataset's name.
        file: Name of the file that is missing.
    """
    if source := _raw_data(folder, name):
        output = "" if str(folder.parent) == "dataset" else f" --output={_quoted(folder.parent)}"
        todo = (
            f"make it of {source} with `recbole-hill prepare {name} --source={_quoted(source)}"
            f"{output}`"
        )
    else:
        todo = f"write it with `recbole-hill prepare {name} --source=PATH`"
        todo += " (a CSV, JSON or Parquet file, or a public dataset's files)"
        others = [known for known in _known(folder.parent) if known != name]
        if near := difflib.get_close_matches(name, others, n=3, cutoff=0.6):
            todo = f"did you mean {' or '.join(near)}? Otherwise {todo}"
        todo += ", or set data_path to the folder above the dataset's own"
    return FileNotFoundError(f"dataset {name!r}: {folder / file} does not exist; {todo}")


def _raw_data(folder: Path, name: str) -> Path | None:
    """Returns the file or folder that holds the dataset's rows in another form, if there is one."""
    files = [] if not folder.is_dir() else [SourceFile(path) for path in sorted(folder.iterdir())]
    found = [
        file.path for file in files if file.path.is_file() and file.kind not in (None, "atomic")
    ]
    if found:
        return found[0] if len(found) == 1 else folder
    beside = (place / f"{name}{end}" for place in (folder.parent, Path()) for end in _BESIDE)
    return next((path for path in beside if path.is_file()), None)


def _known(path: Path) -> list[str]:
    """Returns the names of datasets that are in place, or that have settings here."""
    here = {file.parent.name for file in path.glob("*/*.inter")}
    ours = {Path(file.name).stem for file in properties("dataset").iterdir()}
    return sorted(here | ours)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
