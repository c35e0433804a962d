"""Interactions under a name: what a run or a comparison is made on."""

import hashlib
import os
import sys
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from recbole_hill.api.quiet import in_python, quietly, shown_path
from recbole_hill.run.files import sha256_of

if TYPE_CHECKING:
    import pandas as pd

#: The dataset that RecBole ships.
_SHIPPED = "ml-100k"
#: Digits of the content's hash in a dataset's name.
_DIGITS = 10
#: The model whose settings of data and evaluation are those of every model of pairs.
_PLAIN = "Pop"


class Parts(NamedTuple):
    """The rows of a split, in external ids.

    Attributes:
        train: Columns ``user`` and ``item``, and every column of numbers that a run reads, such as
            ``timestamp``.
        valid: The rows on which choices are made.
        test: The rows on which lists are judged.
    """

    train: "pd.DataFrame"
    valid: "pd.DataFrame"
    test: "pd.DataFrame"

    def __repr__(self) -> str:
        sizes = (f"{name} {len(part):,} rows" for name, part in self._asdict().items())
        return f"Parts({', '.join(sizes)})"


@dataclass(frozen=True)
class Dataset:
    """A dataset on this machine, in RecBole's atomic files.

    Attributes:
        name: Its name; of a frame or a file it ends with digits of the content's hash.
        data_path: The folder that contains its folder.
        summary: What was read and left out, as text of several lines; empty for :meth:`load`.
    """

    name: str
    data_path: str
    summary: str = field(default="", compare=False)

    @classmethod
    def from_pandas(
        cls,
        frame: "pd.DataFrame",
        *,
        user: str | None = None,
        item: str | None = None,
        time: str | None = None,
        rating: str | None = None,
        min_rating: float | None = None,
        core: int | None = None,
        name: str = "frame",
        folder: str | Path | None = None,
    ) -> "Dataset":
        """Makes a dataset of a frame with one row per interaction.

        Args:
            frame: The interactions. Of a <user, item> pair that is repeated the first counts.
            user, item, time, rating: Columns; a column that is not named is chosen by its usual
                names, and the summary says which.
            min_rating: The least rating of a row that is kept.
            core: The least number of rows of each user and each item that is kept (k-core).
            name: The beginning of the dataset's name.
            folder: Where its files go; None: the user's cache folder. The same frame is written
                once.

        Raises:
            ValueError: If a column or an option does not fit, or no row is left.
        """
        import pandas as pd

        if not isinstance(frame, pd.DataFrame):
            raise ValueError(
                f"from_pandas takes a pandas.DataFrame, got {type(frame).__name__}; a file is read "
                "by Dataset.from_file, and a prepared dataset by Dataset.load"
            )
        digest = hashlib.sha256("\0".join(map(str, frame.columns)).encode())
        digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
        chosen = {"user": user, "item": item, "time": time, "rating": rating}
        options = {**chosen, "min_rating": min_rating, "core": core}
        return cls._prepared(frame, name, digest.hexdigest(), folder, options)

    @classmethod
    def from_file(
        cls,
        file: str | Path,
        *,
        user: str | None = None,
        item: str | None = None,
        time: str | None = None,
        rating: str | None = None,
        min_rating: float | None = None,
        core: int | None = None,
        name: str | None = None,
        folder: str | Path | None = None,
    ) -> "Dataset":
        """Makes a dataset of a file of interactions, such as CSV, JSON lines or Parquet.

        Args:
            file: The file.
            user, item, time, rating, min_rating, core: See :meth:`from_pandas`.
            name: The beginning of the dataset's name; None: the file's name.
            folder: See :meth:`from_pandas`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: As :meth:`from_pandas`.
        """
        file = Path(file)
        if not file.is_file():
            raise FileNotFoundError(f"file {file} does not exist")
        chosen = {"user": user, "item": item, "time": time, "rating": rating}
        options = {**chosen, "min_rating": min_rating, "core": core}
        return cls._prepared(
            file, name or file.name.split(".")[0], sha256_of(file), folder, options
        )

    @classmethod
    def load(cls, name: str, data_path: str | Path = "dataset") -> "Dataset":
        """Names a dataset that RecBole ships, or that ``prepare`` wrote.

        Args:
            name: Its name, such as ``ml-100k`` or ``gowalla``.
            data_path: The folder that contains its folder.

        Raises:
            FileNotFoundError: If it is not there; the message names the nearest.
        """
        folder = Path(data_path) / name
        if name != _SHIPPED and not any(folder.glob(f"{name}*.inter")):
            root = Path(data_path)
            there = [each.name for each in root.iterdir() if each.is_dir()] if root.is_dir() else []
            near = get_close_matches(name, [*there, _SHIPPED], n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else f"; write it with `prepare {name}`"
            raise FileNotFoundError(f"dataset {name!r} is not in {data_path}{hint}")
        return cls(name, str(Path(data_path).absolute()))

    @classmethod
    def _prepared(cls, source, name: str, content: str, folder, options: dict) -> "Dataset":
        from recbole_hill.data.prepare.own import prepare_interactions

        made_of = hashlib.sha256(f"{content} {sorted(options.items())}".encode()).hexdigest()
        name, folder = f"{name}-{made_of[:_DIGITS]}", Path(folder or cache_folder()).absolute()
        try:
            prepared = prepare_interactions(source, name, output=folder, **options)
        except ValueError as error:
            raise ValueError(in_python(str(error))) from error
        return cls(name, str(folder), in_python(prepared.summary))

    def parts(self, split: str | None = None, protocol: str = "holdout", **settings) -> Parts:
        """Returns the train, validation and test rows of a split, such as another library needs.

        Args:
            split, protocol: See :func:`recbole_hill.fit`; a run with the same two has these rows.
            **settings: Settings of the data, such as ``split_seed``.

        Raises:
            ValueError: If a setting does not fit, or a part is empty.
        """
        with quietly():
            from recbole_hill.data.frames import frame_of
            from recbole_hill.data.splits import load_data

            settings = {"topk": [1], "protocol": protocol, **settings}  # of a part of any size
            loaded = load_data(config_of(self, split, settings))
            return Parts(*map(frame_of, (loaded.train, loaded.valid, loaded.test)))

    @property
    def settings(self) -> dict[str, str]:
        """The settings by which a run finds the dataset."""
        return {} if self.name == _SHIPPED else {"data_path": self.data_path}

    def __repr__(self) -> str:
        return f"Dataset({self.name!r} in {shown_path(self.data_path)})" + (
            f"\n{self.summary}" if self.summary else ""
        )


def cache_folder() -> Path:
    """Returns the folder of this user's cache on this system, for datasets made of frames.

    A frame's files are a copy of what the program holds, so they do not belong in the working
    folder. Deleting them costs no finished run.
    """
    home = Path.home()
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        root = home / "Library" / "Caches"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return root / "recbole_hill"


def as_dataset(data: "Dataset | str") -> Dataset:
    """Returns a dataset; text is the name of one in ``dataset/``.

    Raises:
        ValueError: If it is neither.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str):
        return Dataset.load(data)
    hint = "; a frame becomes one by Dataset.from_pandas" if hasattr(data, "columns") else ""
    raise ValueError(f"data must be a Dataset or a name, got {type(data).__name__}{hint}")


def config_of(data: Dataset, split: str | None, settings: dict):
    """Returns the configuration of a dataset's split and evaluation, without a model of its own."""
    from recbole_hill.config.config import HillConfig
    from recbole_hill.config.properties import read_properties, recbole_defaults
    from recbole_hill.host.metrics import measured_names, register_metrics, require_metrics

    settings = {**settings, **({} if split is None else {"split": split})}
    # Nothing is validated, but a configuration must name a metric that is measured.
    shown = {**recbole_defaults("overall.yaml"), **read_properties("overall.yaml"), **settings}
    topk, metrics = (
        given if isinstance(given, list) else [given] for given in (shown["topk"], shown["metrics"])
    )
    register_metrics()
    require_metrics(metrics)
    settings.setdefault("valid_metric", measured_names(metrics, topk)[0])
    return HillConfig(_PLAIN, data.name, None, {**settings, **data.settings})
