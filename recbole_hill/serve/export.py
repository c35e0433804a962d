"""Export of a finished run to plain files (lists, vectors, index), readable by other systems."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recbole_hill.checks import one_of
from recbole_hill.host.optional import require, require_faiss
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.in_numpy import FaissSearch
from recbole_hill.run import folder as runs
from recbole_hill.run.files import LOCK, atomic_path, sha256_of
from recbole_hill.run.provenance import made_by
from recbole_hill.run.text import spreadsheet_cell
from recbole_hill.serve.open_run import open_run
from recbole_hill.serve.served_run import Lists, ServedRun

FORMATS = ("csv", "parquet")
MANIFEST = "manifest.json"
COLUMNS = ("user", "rank", "item", "score")

_USERS, _ITEMS = "user_embeddings.npy", "item_embeddings.npy"
_USER_IDS, _ITEM_IDS = "users.txt", "items.txt"
_TREE, _FAISS = runs.INDEX, "index.faiss"
_LISTS = {name: f"recommendations.{name}" for name in FORMATS}
_OTHERS = (_USERS, _ITEMS, _USER_IDS, _ITEM_IDS, _TREE, _FAISS)


def export(
    folder: str | Path,
    output: str | Path,
    *,
    k: int = 20,
    file_format: str = "csv",
    users: Sequence[str] | None = None,
    retrieval: str | None = None,
    beam_width: int | Sequence[int] | None = None,
    node_score: str | None = None,
    force: bool = False,
    progress: bool = False,
) -> dict:
    """Writes the lists of a run, and, if its scores are inner products, its vectors and its index.

    The manifest is written last, and the manifest of an earlier export is removed first. A folder
    with a manifest is therefore complete.

    Args:
        folder: Folder of a finished run.
        output: Folder to write to.
        k: Items per user, at least 1.
        file_format: Format of the lists, ``csv`` | ``parquet``.
        users: External ids of the users to export; None exports all users.
        retrieval: Search that makes the lists, see :meth:`ServedRun.recommend`.
        beam_width: See there; also the ``nprobe`` that is written to ``index.faiss``.
        node_score: See there.
        force: Whether to write into a folder that is not empty. Files of an earlier export that
            this export does not write are removed.
        progress: Whether to show a bar.

    Returns:
        The manifest.

    Raises:
        ValueError: If an argument is not valid, the folder is not empty, or the run does not fit.
        FileNotFoundError: If ``folder`` is not the folder of a finished run.
        ImportError: If the format needs a library that is not installed.
    """
    one_of("format", file_format, FORMATS)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if file_format == "parquet":
        _parquet()
    output = Path(output)
    _require_free(output, force)
    served = open_run(folder)
    rows = np.arange(len(served.user_tokens))
    if users is not None:
        rows = served.rows_of(list(dict.fromkeys(users)))
    search = {"retrieval": retrieval, "beam_width": beam_width, "node_score": node_score}
    blocks = served.searched(rows, k, **search)

    with runs.alone(output, f"another export is writing to {output}", {*_LISTS.values(), *_OTHERS}):
        _require_free(output, force)
        (output / MANIFEST).unlink(missing_ok=True)
        name = _LISTS[file_format]
        with _writer(output / name, file_format) as write, _bar(len(rows), progress) as bar:
            n_rows = 0
            for block in blocks:
                columns = _columns(served, block)
                write(columns)
                n_rows += len(columns["user"])
                bar.update(len(block.users))
        text = "best first, without the user's own items; users with fewer unseen ones have fewer"
        if file_format == "csv":
            text += "; an id that a spreadsheet takes for a formula has an apostrophe before it"
        files = {name: {"what": f"each user's {k} best items, {text}", "rows": n_rows}}
        manifest = _about(served)
        manifest["lists"] = {"k": k, "retrieval": retrieval or served.about["retrieval"]}
        if manifest["lists"]["retrieval"] in ("beam", "faiss"):
            for key in ("beam_width", "node_score"):
                manifest["lists"][key] = served.about[key] if search[key] is None else search[key]
        if served.arrays is None:
            model = served.about["model"]
            manifest["vectors"] = f"none: {model}'s score is no inner product of two vectors"
        else:
            files |= _write_vectors(served, rows, output)
            manifest["metric"] = "inner product"
            manifest["search"] = (
                f"score = {_USERS}[row in {_USER_IDS}] @ {_ITEMS}[row in {_ITEM_IDS}]"
            )
        if served.index is not None and served.about["beam_width"] is None:  # a model's own search
            files[_TREE] = _write_tree(served.index, output)
        elif served.index is not None:
            files |= _write_index(served, beam_width, output)
            manifest["search_faiss"] = (
                f"faiss.read_index('{_FAISS}').search(user_embeddings, k) gives scores and rows of "
                f"{_ITEMS} (-1: none); a user's own items are not left out"
            )
        for file, entry in files.items():
            entry["sha256"] = sha256_of(output / file)
        manifest["files"] = files
        for stale in {*_LISTS.values(), *_OTHERS} - {*files}:
            (output / stale).unlink(missing_ok=True)
        with atomic_path(output / MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        with suppress(PermissionError):  # Windows removes no open file
            (output / LOCK).unlink()
        return manifest


def _require_free(output: Path, force: bool) -> None:
    if output.exists() and not output.is_dir():
        raise ValueError(f"output {output} is a file; it must be a folder, or not there")
    if (output / runs.CONFIG).exists():
        raise ValueError(f"output {output} is a run's folder; export somewhere else")
    if output.is_dir() and any(file.name != LOCK for file in output.iterdir()) and not force:
        raise ValueError(f"output {output} is not empty; --force writes over an earlier export")


def _about(served: ServedRun) -> dict:
    """Returns the manifest's entries about the run."""
    settings = runs.read_config(served.folder)
    return {
        "run": served.folder.resolve().name,
        **{key: served.about[key] for key in ("model", "dataset", "data_sha256")},
        "protocol": settings["protocol"],
        "test_selected": settings["protocol"] == "published",
        **{key: settings[key] for key in ("seed", "split_seed")},
        "exported_by": made_by(),
    }


def _columns(served: ServedRun, lists: Lists) -> dict[str, np.ndarray]:
    """Returns a block's lists with external ids, one row per <user, item>."""
    rows, places = (lists.items >= 0).nonzero()  # padding is at the end of a list
    return {
        "user": lists.users[rows],
        "rank": places + 1,
        "item": served.item_tokens[lists.items[rows, places]],
        "score": lists.scores[rows, places],
    }


def _bar(n_users: int, progress: bool) -> tqdm:
    return tqdm(total=n_users, desc="lists", unit="user", disable=not progress or None)


# -- files --------------------------------------------------------------------------------------


def _writer(path: Path, file_format: str):
    return _csv_writer(path) if file_format == "csv" else _parquet_writer(path)


@contextmanager
def _csv_writer(path: Path) -> Iterator[Callable[[dict], None]]:
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)

        def write(columns: dict[str, np.ndarray]) -> None:
            lists = {name: columns[name].tolist() for name in COLUMNS}
            # Nine digits are enough to restore the same float32.
            lists["score"] = [f"{score:.9g}" for score in lists["score"]]
            for name in ("user", "item"):
                lists[name] = map(spreadsheet_cell, lists[name])
            writer.writerows(zip(*lists.values(), strict=True))

        yield write


@contextmanager
def _parquet_writer(path: Path) -> Iterator[Callable[[dict], None]]:
    arrow, parquet = _parquet()
    types = (arrow.string(), arrow.int32(), arrow.string(), arrow.float32())
    schema = arrow.schema(list(zip(COLUMNS, types, strict=True)))
    with atomic_path(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:

        def write(columns: dict[str, np.ndarray]) -> None:
            arrays = [arrow.array(columns[f.name].tolist(), type=f.type) for f in schema]
            writer.write_table(arrow.table(arrays, schema=schema))

        yield write


def _parquet():
    """Returns pyarrow and its Parquet module."""
    names = ("pyarrow", "pyarrow.parquet")
    return tuple(require(name, "pyarrow", "export to Parquet", extra=None) for name in names)


def _write_vectors(served: ServedRun, rows: np.ndarray, output: Path) -> dict[str, dict]:
    users, items = served.arrays
    parts = (
        ("user", _USERS, users[rows], _USER_IDS, served.user_tokens[rows]),
        ("item", _ITEMS, items, _ITEM_IDS, served.item_tokens),
    )
    files = {}
    for kind, array_file, array, ids_file, tokens in parts:
        with atomic_path(output / array_file) as temporary, open(temporary, "wb") as file:
            np.save(file, array)
        with atomic_path(output / ids_file) as temporary:
            temporary.write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
        what = f"{kind} vectors; row r is of line r of {ids_file} (from 0)"
        files[array_file] = {"what": what, "shape": list(array.shape), "dtype": "float32"}
        files[ids_file] = {"what": f"external {kind} ids, a line each", "rows": len(tokens)}
    return files


def _write_tree(index: HierarchicalIndex, output: Path) -> dict:
    index.save(output / _TREE)
    return {
        "what": "the tree over the items: recbole_hill.index.hierarchy.HierarchicalIndex.load, "
        "or numpy.load without pickle",
        "nodes_per_depth": list(index.nodes_per_depth),
    }


def _write_index(served: ServedRun, beam_width, output: Path) -> dict[str, dict]:
    """Writes the tree, with node vectors for the current items, and FAISS's lists over it."""
    items = served.arrays[1]
    index = served.index.refreshed(items)
    tree = _write_tree(index, output)
    width = served.about["beam_width"] if beam_width is None else beam_width
    lists = FaissSearch(index, items, width).faiss_index
    with atomic_path(output / _FAISS) as temporary:
        require_faiss("export of an index").write_index(lists, str(temporary))
    return {
        _TREE: tree,
        _FAISS: {
            "what": f"FAISS IndexIVFFlat by inner product, a list per depth-1 node; its ids are "
            f"rows of {_ITEMS}",
            "shape": [lists.ntotal, lists.d],
            "nlist": lists.nlist,
            "nprobe": lists.nprobe,
        },
    }
