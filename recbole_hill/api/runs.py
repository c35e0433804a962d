"""The runs of a comparison, by model and seed."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from recbole_hill.api.run import Run


class Runs(Mapping[tuple[str, int], Run]):
    """Finished runs by model and seed: ``runs["BPR", 2020].recommend(["c42"])``.

    A run is opened when it is first asked for.

    Args:
        folders: The runs' folders.
    """

    def __init__(self, folders: Mapping[tuple[str, int], Path]):
        self._folders = dict(folders)
        self._opened: dict[tuple[str, int], Run] = {}

    def __getitem__(self, key: tuple[str, int]) -> Run:
        """Returns the run of a model and a seed.

        Raises:
            KeyError: If there is no such run; names those that are there.
        """
        if key not in self._folders:
            known = ", ".join(map(repr, self._folders)) or "none"
            raise KeyError(f"{key!r} is no finished run; model and seed must be one of: {known}")
        if key not in self._opened:
            self._opened[key] = Run(self._folders[key])
        return self._opened[key]

    def __contains__(self, key: object) -> bool:
        return key in self._folders

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)

    def __repr__(self) -> str:
        return f"Runs({', '.join(map(repr, self._folders))})"
