"""A run's folder: its name, its log, and the files that a run writes to it."""

import contextlib
import importlib.util
import json
import logging
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from recbole_hill.config.dialect import dump_settings
from recbole_hill.run.files import LOCK, alone_in, atomic_path, open_to_write, path_inside
from recbole_hill.run.own_files import read_json, read_yaml
from recbole_hill.run.text import printable_lines

#: Files of every run.
CONFIG = "config.yaml"
ROWS = "rows.jsonl"
METRICS = "metrics.json"
STAGES = "stages.json"
#: The weights of the backbone's stage, and the index; a stream keeps an index per snapshot.
BACKBONE = "backbone.safetensors"
INDEX = "index.npz"
#: Key and present number of the settings' format in ``config.yaml``.
_FORMAT_KEY, _FORMAT = "settings_format", 2
#: Key in ``stages.json``, in the stage that ends a run: the file of the weights that the run
#: serves.
SERVES = "serves"
#: The stage in which HILL keeps its adapted or unadapted weights, and the arm that has them.
CHOICE = "HILL"
#: Folder of the holdout run within a ``refit`` run's folder, and stage of the refit run that
#: records its seconds.
HOLDOUT = "holdout"
#: File with the slices of a stream; only a stream's folder has it.
STREAM = "stream.json"
#: Log of a run, note of the data that it saw, and external ids of its users and items.
LOG, DATA, IDS = "run.log", "data.json", "ids.json"
#: Folder of the tables that the run's data were read from.
TABLES = "tables"
#: Files, and folders of files, that a run writes before it has a result.
NOTES = frozenset({CONFIG, LOG, DATA, IDS, STREAM, TABLES, "tensorboard"})


def new_folder(root: str | Path, model: str, dataset: str) -> Path:
    """Returns ``root/<model>-<dataset>-<time>-<random>``, a folder that is not there yet."""
    while True:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        folder = Path(root) / f"{model}-{dataset}-{stamp}-{secrets.token_hex(3)}"
        if not folder.exists():
            return folder


def folder_of(config) -> Path:
    """Returns ``run_dir``; if it is not set, sets it to a new folder. Creates nothing."""
    if not config["run_dir"]:
        root = config["checkpoint_dir"]
        config["run_dir"] = str(new_folder(root, config["model"], config["dataset"]))
    return Path(config["run_dir"])


def claim(folder: Path) -> None:
    """Creates the folder that ``run_dir`` names, or uses it if it contains no run.

    Raises:
        ValueError: If the folder contains a run. Another run must not continue its stages with
            other settings.
    """
    if (folder / CONFIG).exists():
        raise ValueError(
            f"run_dir {folder} holds a run already; continue it with --resume={folder}"
        )
    folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def alone(folder: str | Path, busy: str = "", notes: Collection[str] = NOTES) -> Iterator[None]:
    """Keeps every other process out of a folder while a block runs.

    A block that fails before it wrote a result leaves nothing: the files that it wrote are removed,
    and the folder with them, if it is new. What was there before stays.

    Args:
        folder: The folder; it is created if needed.
        busy: The error if another process works in the folder.
        notes: Names of files that are no result; no file of a folder of these names is one either.

    Raises:
        ValueError: If another process works in the folder.
    """
    there = _there(folder)
    with (
        alone_in(Path(folder).absolute(), busy or f"another process is running in {folder}"),
        nothing_left(folder, notes, there),
    ):
        yield


@contextlib.contextmanager
def nothing_left(
    folder: str | Path, notes: Collection[str] = NOTES, there: Collection[Path] | None = None
) -> Iterator[None]:
    """Removes what a block wrote to a folder, if the block fails before it wrote a result.

    Args:
        folder: The folder, which need not exist.
        notes: As for :func:`alone`.
        there: Which of the folder and its parents were there before; None: those that are now.
    """
    folder = Path(folder).absolute()
    there = _there(folder) if there is None else there
    before = {*folder.glob("*"), folder / LOCK}
    try:
        yield
    except Exception:
        new = [path for path in folder.glob("*") if path not in before]
        files = [file for path in new for file in (path, *path.rglob("*")) if file.is_file()]
        if all({file.name, file.parent.name} & set(notes) for file in files):
            _remove(new)
            _remove_empty(folder, there)
        raise


def _there(folder: str | Path) -> set[Path]:
    """Returns which of a folder and its parents exist."""
    folder = Path(folder).absolute()
    return {path for path in (folder, *folder.parents) if path.exists()}


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run.

    Attributes:
        folder: The folder of the run, which ``--resume`` continues.
    """

    def __init__(self, folder: Path):
        super().__init__(str(folder))
        self.folder = folder


@contextlib.contextmanager
def named_when_stopped(folder: Path) -> Iterator[None]:
    """Tells whoever catches Ctrl-C the folder that continues the run of the block.

    Raises:
        Interrupted: At Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(folder) from error


def _remove(paths: list[Path]) -> None:
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, logging.FileHandler)]:
        if Path(handler.baseFilename) in paths:
            root.removeHandler(handler)  # it would write the file anew
            handler.close()
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _remove_empty(folder: Path, there: Collection[Path]) -> None:
    """Removes a folder that holds no more than its lock, and its empty parents, if they are new."""
    if folder in there or not folder.exists() or {path.name for path in folder.iterdir()} - {LOCK}:
        return
    with contextlib.suppress(OSError):  # Windows removes no open file; another start came between
        (folder / LOCK).unlink(missing_ok=True)
        for each in (folder, *folder.parents):
            if each in there:
                break
            each.rmdir()


def write_config(folder: Path, settings: dict) -> None:
    """Writes the effective settings as YAML."""
    with atomic_path(folder / CONFIG) as temporary:
        # Keys are sorted, but not inside a setting: the order of `tasks` says which task is the
        # first.
        ordered = {**dict(sorted(settings.items())), _FORMAT_KEY: _FORMAT}
        temporary.write_text(dump_settings(ordered), encoding="utf-8")


def read_config(folder: Path) -> dict:
    """Reads the settings that a run wrote.

    Raises:
        FileNotFoundError: If the folder is not a run's folder.
        ValueError: If the file is not YAML, or is not whole.
    """
    file = Path(folder) / CONFIG
    if not file.is_file():
        raise FileNotFoundError(f"{folder} is not a run's folder: it has no {CONFIG}")
    return _in_present_format(read_yaml(file, model=str, dataset=str, protocol=str))


def _in_present_format(settings: dict) -> dict:
    """Returns settings in the present format; format 1 listed beam widths coarsest first."""
    written, width = settings.pop(_FORMAT_KEY, 1), settings.get("beam_width")
    if written == 1 and isinstance(width, list) and "nodes_per_depth" in settings:
        settings["beam_width"] = width[::-1]
    return settings


def read_stages(folder: Path) -> dict[str, dict]:
    """Returns the records of a run's finished stages, by name; none if there is no file.

    Raises:
        ValueError: If the file is damaged.
    """
    return _read_json(Path(folder) / STAGES, dict)


def read_stream(folder: Path) -> dict:
    """Returns how a stream is cut: ``slices`` and ``keep``.

    Raises:
        ValueError: If the file is absent or damaged.
    """
    cut = _read_json(Path(folder) / STREAM, (int, type(None)))
    if not isinstance(cut.get("slices"), int):
        raise ValueError(f"{Path(folder) / STREAM} does not say into how many slices it is cut")
    return cut


def _read_json(file: Path, of: type | tuple[type, ...]) -> dict:
    """Reads an object whose values are of a type; an absent file is an empty object."""
    if not file.exists():
        return {}
    found = read_json(file)
    for key, value in found.items():
        if not isinstance(value, of):
            raise ValueError(f"{file}: {key} must not be {value!r}")
    return found


def served_weights(folder: Path) -> Path:
    """Returns the file of the weights that a finished run serves, as ``stages.json`` says.

    Runs from before 2026-12 do not record this file. There, a run with a backbone serves the
    weights of its last stage, and any other run serves the weights of its only stage.

    Raises:
        FileNotFoundError: If the folder is not a run's folder, or the run has not finished.
        ValueError: If ``stages.json`` is damaged, or names a file outside the folder.
    """
    folder = Path(folder)
    settings, stages = read_config(folder), read_stages(folder)
    serving = [str(stage[SERVES]) for stage in stages.values() if SERVES in stage]
    if not serving:
        last, weights = (CHOICE, "adapted") if settings.get("backbone") else ("backbone",) * 2
        serving = [f"{weights}.safetensors"] if last in stages else []
    if not serving or not path_inside(folder, serving[-1]).is_file():
        raise FileNotFoundError(
            f"the run in {folder} has not finished; continue it with --resume={folder}"
        )
    return folder / serving[-1]


def write_rows(folder: Path, rows: list[dict]) -> None:
    """Writes the rows, one JSON object per line, and their metrics by arm to ``metrics.json``.

    An arm is one compared variant of a run.
    """
    with atomic_path(folder / ROWS) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with atomic_path(folder / METRICS) as temporary:
        by_arm = {row["arm"]: row["metrics"] for row in rows}
        temporary.write_text(json.dumps(by_arm, indent=1) + "\n", encoding="utf-8")


def start_log(folder: Path, level: str, *, echo: bool = True) -> None:
    """Logs to the run's ``run.log`` and to standard error; without ``echo`` there warnings only."""
    shown = logging.StreamHandler()
    if not echo:
        shown.setLevel(logging.WARNING)
    handlers = [_LogFile(folder / LOG), shown]
    for handler in handlers:
        handler.addFilter(_is_no_news_of_recbole)
        handler.setFormatter(_Plain("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=str(level).upper(), handlers=handlers, force=True)
    # FAISS tries one build per processor feature, and logs each missing build as an error.
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)


def _is_no_news_of_recbole(record: logging.LogRecord) -> bool:
    """Returns whether a record is shown; RecBole's own news are not, and its warnings are."""
    spec = importlib.util.find_spec("recbole")
    theirs = spec is not None and Path(spec.origin).parent in Path(record.pathname).parents
    return record.levelno != logging.INFO or not theirs


class _LogFile(logging.FileHandler):
    """A log that is never written through a symbolic link."""

    def _open(self):
        return open_to_write(Path(self.baseFilename), self.mode)


class _Plain(logging.Formatter):
    """Writes a record without RecBole's colours and without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(re.sub(r"\x1b\[[0-9;]*m", "", super().format(record)))
