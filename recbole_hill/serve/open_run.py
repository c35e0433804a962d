"""The one way to a finished run that is to be served: by its vectors, or by its model."""

import os
from pathlib import Path

from recbole_hill.model.bundle import BUNDLE
from recbole_hill.run.hashes import is_noted
from recbole_hill.serve.served_run import ServedRun
from recbole_hill.serve.vector_run import VectorRun


def open_run(folder: str | Path, snapshot: int | None = None) -> ServedRun:
    """Opens a finished run; for a stream's folder, the snapshot after a slice.

    A run that keeps its vectors is served from them, without RecBole and without the data set.

    Args:
        folder: Folder of the run or of the stream.
        snapshot: Number of the stream's slice, from 0; None opens the last finished slice.

    Raises:
        FileNotFoundError: If the folder is not a run's folder, or the run or the slice has not
            finished.
        ValueError: If the files are not those of the run, or a snapshot is requested of a run that
            is not a stream.
    """
    folder = Path(folder)
    if snapshot is None and (os.path.lexists(folder / BUNDLE) or is_noted(folder, BUNDLE)):
        return VectorRun.load(folder)
    from recbole_hill.serve.loaded_run import LoadedRun

    return LoadedRun.load(folder, snapshot)
