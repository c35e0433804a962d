"""RecBole datasets under the three protocols: which interactions train, choose and test.

A protocol is the rule by which a number is made:

| protocol  | trains on                | chooses on              | tested on |
|-----------|--------------------------|-------------------------|-----------|
| holdout   | train without validation | validation              | test      |
| refit     | train                    | nothing                 | test      |
| published | train                    | test, as the papers did | test      |

For a dataset of two files (train, test) the validation set is a part of train. It is drawn with
``split_seed`` and not with the model's ``seed``, so that several seeds share one split. A dataset
that RecBole splits itself keeps RecBole's three parts. RecBole's own ``benchmark_filename`` cannot
take two files: it unpacks three parts, and if the test file is named twice, it stops early on the
test set.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path

import numpy as np
import torch
from recbole.data import data_preparation
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction, cat_interactions
from recbole.utils import FeatureSource, FeatureType, ModelType, init_seed

from recbole_hill.checks import one_of
from recbole_hill.config.split import OURS
from recbole_hill.data.auto import AUTO, Size, resolve
from recbole_hill.data.cold_users import RANK
from recbole_hill.data.cuts import cut_by_id, cut_by_time, says
from recbole_hill.data.features import require_features
from recbole_hill.data.headers import require_headers
from recbole_hill.data.ids import Ids
from recbole_hill.data.loaders import of_drawn_users, our_loaders, say_full_users
from recbole_hill.data.missing import no_dataset
from recbole_hill.data.prepare.prepared import require_as_prepared
from recbole_hill.data.rows import CleanRows, sort_by_time
from recbole_hill.data.tasks import (
    label_matrix,
    require_complete,
    require_floats,
    require_two_classes,
    tasks_of,
)
from recbole_hill.data.validation import choose_later_validation, choose_validation, file_numbers
from recbole_hill.host import pickles
from recbole_hill.run.files import atomic_path
from recbole_hill.run.folder import DATA
from recbole_hill.run.own_files import read_json

#: Number of score-sized arrays that RecBole's full-sort evaluation holds for a batch of users.
_EVALUATION_COPIES = 5
#: Number of scores that stay in a CPU's cache until the lists are made from them: 16 MiB.
_CACHED_SCORES = 2**22


class SplitDataset(CleanRows, Dataset):
    """RecBole's Dataset, split into train, validation and test by the protocol."""

    def __init__(self, config):
        if tasks := tasks_of(config):
            config["LABEL_FIELD"] = tasks[0].name
        super().__init__(config)

    def build(self) -> list[Dataset]:
        """Returns the train, validation and test datasets."""
        if self.config["eval_args"]["order"] == "RO":
            init_seed(self.config["split_seed"], self.config["reproducibility"])
        parts = self._cut() if self.config["split"] in OURS else super().build()
        if len(parts) == 2:
            train, test = parts
            train, valid = self._carve_validation(train)
        elif len(parts) == 3:
            train, valid, test = parts
            if self.config["valid_choice"] != "random":
                raise ValueError(
                    f"valid_choice {self.config['valid_choice']!r} is for datasets of two files; "
                    f"{self.dataset_name} has a validation set already, accepted is random"
                )
        else:
            raise ValueError(
                f"benchmark_filename must name two files (train, test) or three "
                f"(train, valid, test), got {self.config['benchmark_filename']}"
            )
        if self.config["protocol"] != "holdout":
            train = self.copy(cat_interactions([train.inter_feat, valid.inter_feat]))
            valid, test = test, self.copy(test.inter_feat)
        resolve(self.config, Size.of(train))
        return [train, valid, test]

    def __getitem__(self, index, join=True):
        """Returns the rows of a batch, as RecBole does; see :func:`_rows`."""
        rows = _rows(self.inter_feat, index)
        return self.join(rows) if join else rows

    def join(self, df):
        """Joins a batch with its users' and items' features, as RecBole does; see :func:`_rows`."""
        for features, field in ((self.user_feat, self.uid_field), (self.item_feat, self.iid_field)):
            if features is not None and field in df:
                df.update(_rows(features, df[field]))
        return df

    def _fill_nan(self):
        """Refuses labels that are missing or not numbers, before RecBole fills missing ones."""
        tasks = tasks_of(self.config)
        require_floats(self, tasks)
        require_complete(self.inter_feat, tasks)
        super()._fill_nan()

    def _set_label_by_threshold(self):
        """Makes a 0/1 column for each task, and drops the columns that labels were made from."""
        super()._set_label_by_threshold()
        tasks = tasks_of(self.config)
        columns = {task.name: task.labels(self.inter_feat[task.field].to_numpy()) for task in tasks}
        for field in {task.field for task in tasks} - set(columns):
            self._del_col(self.inter_feat, field)
        for name, labels in columns.items():
            self.set_field_property(name, FeatureType.FLOAT, FeatureSource.INTERACTION, 1)
            self.inter_feat[name] = labels

    def _cut(self) -> list[Dataset]:
        """Returns the three parts of a split that RecBole does not have."""
        split, seed = self.config["split"], self.config["split_seed"]
        if split == "global_time":
            sort_by_time(self)  # while times are float64
            part = cut_by_time(self.inter_feat[self.time_field].to_numpy())
        else:
            field = self.uid_field if split == "cold_users" else self.iid_field
            part = cut_by_id(self.inter_feat[field].to_numpy(), seed)
        ids = (self.inter_feat[field].to_numpy() for field in (self.uid_field, self.iid_field))
        self.logger.info(f"split {split}: {says(part, *ids)}")
        self._change_feat_format()
        self._drop_unused_col()
        return [self.copy(_rows(self.inter_feat, part == number)) for number in range(3)]

    def _carve_validation(self, train: Dataset) -> tuple[Dataset, Dataset]:
        """Moves a share of the train interactions to validation; every user keeps at least one."""
        choice = one_of("valid_choice", self.config["valid_choice"], ("random", "later"))
        ratio, seed = self.config["valid_ratio"], self.config["split_seed"]
        fields = self.uid_field, self.iid_field
        users, items = (train.inter_feat[field].numpy() for field in fields)
        if choice == "random":
            chosen = choose_validation(users, ratio, seed)
        else:
            numbers = (file_numbers(train.field2id_token[field]) for field in fields)
            users, items = (n[x] for n, x in zip(numbers, (users, items), strict=True))
            chosen = choose_later_validation(users, items, ratio, seed)
        chosen = torch.from_numpy(chosen)
        return tuple(self.copy(_rows(train.inter_feat, rows)) for rows in (~chosen, chosen))


@dataclass(frozen=True)
class Data:
    """One dataset under one protocol, as RecBole's loaders.

    Attributes:
        dataset: The whole RecBole dataset (for id maps).
        train: Training loader.
        valid: Loader on which choices are made; under ``published`` it is the test set. It has the
            rows of ``valid_users`` users, if that is set.
        test: Loader of the test set.
        sha256: Hash of the interactions of the three parts, in external ids, with every user.
    """

    dataset: Dataset
    train: object
    valid: object
    test: object
    sha256: str

    def without_test(self) -> "Data":
        """Returns the same data with a test set that raises an error if it is read."""
        return replace(self, test=SealedTest())


class SealedTest:
    """Replaces the test set while choices are made: reading it raises RuntimeError."""

    def __getattr__(self, name):
        raise RuntimeError(f"the test set must not be read while choosing settings ({name})")

    def __iter__(self):
        return self.__getattr__("__iter__")

    def __len__(self):
        return self.__getattr__("__len__")


def load_data(config) -> Data:
    """Loads and splits the dataset of ``config``, and makes its loaders.

    Args:
        config: RecBole's Config.

    Raises:
        FileNotFoundError: If the dataset's files are missing; the message says how to get them.
        ValueError: If the dataset lacks something that the model needs; the message names it.
    """
    if not config["kept_tables"]:
        require_files(config)
        require_features(config)
    dataset = create_dataset(config)
    n_rows = len(dataset.inter_feat)
    _require_short_lists(config, dataset.item_num - 1)
    if config["eval_batch_size"] == AUTO:
        config["eval_batch_size"] = evaluation_batch(
            dataset.item_num, config["eval_memory_mb"], cached=config["device"].type == "cpu"
        )
    with _named_by_class(config), pickles.no_pickled_loaders(), our_loaders():
        train, valid, test = data_preparation(config, dataset)
    for part, loader in {"train": train, "validation": valid, "test": test}.items():
        if not len(loader._dataset):
            raise ValueError(_says_empty(part, config, n_rows))
    sha256 = interactions_sha256(train, valid, test)
    if config["valid_users"]:
        valid = of_drawn_users(valid, config["valid_users"], config["split_seed"])
    say_full_users(train, test)
    if tasks := tasks_of(config):
        require_two_classes(label_matrix(train._dataset.inter_feat, tasks), tasks)
        if config["protocol"] != "refit":  # refit makes no choice
            # Choices use the first task's NE, which is NaN if all labels are the same.
            labels = label_matrix(valid._dataset.inter_feat, tasks[:1])
            require_two_classes(labels, tasks[:1], "validation")
    return Data(dataset, train, valid, test, sha256)


def _says_empty(part: str, config, n_rows: int) -> str:
    """Returns the message about a part without interactions."""
    files, split = config["benchmark_filename"], config["eval_args"]
    if files:
        by = f"benchmark_filename {files} (of a pair that is repeated the first row counts)"
    elif config["split"]:
        by = f"split {config['split']}"
    else:
        by = f"eval_args split {split['split']}, group_by {split['group_by']}"
    return (
        f"the {part} set of {config['dataset']} is empty: none of {n_rows:,} interactions is in it "
        f"by {by}; accepted is a split that leaves it at least one"
    )


def loader_of_class(get_dataloader: Callable) -> Callable:
    """Returns RecBole's ``get_dataloader``, changed to choose the loader by the model's class."""

    @wraps(get_dataloader)
    def by_class(config, phase):
        with _named_by_class(config):
            return get_dataloader(config, phase)

    return by_class


@contextmanager
def _named_by_class(config):
    """Makes RecBole choose its user-wise loaders by the model's class instead of its name.

    By name, an alias or a subclass of one of RecBole's auto-encoders would get interactions instead
    of users. One of our classes asks for users with ``user_wise = True``.
    """
    name, model = config["model"], config.model_class
    kinds = (c.__name__ for c in model.__mro__ if c.__module__.startswith("recbole.model.general"))
    if getattr(model, "user_wise", False):
        config["model"] = "MultiDAE"  # any of RecBole's user-wise models
    else:
        config["model"] = next(kinds, name)
    try:
        yield
    finally:
        config["model"] = name


def create_dataset(config) -> Dataset:
    """Builds a SplitDataset for general and context-aware models, RecBole's dataset for others."""
    kinds = (ModelType.GENERAL, ModelType.TRADITIONAL, ModelType.CONTEXT)
    if config["MODEL_TYPE"] in kinds:
        return SplitDataset(config)
    if config["split"] in OURS:
        raise ValueError(
            f"split {config['split']} is for models of <user, item> rows, and {config['model']} "
            f"is {config['MODEL_TYPE'].name.lower()}; accepted are random, leave_one_out, "
            "time_per_user and fixed"
        )
    if config["train_batch_size"] == AUTO:
        raise ValueError(
            f"train_batch_size auto is for general and context-aware models; {config['model']} "
            "needs an integer >= 1"
        )
    theirs = pickles.dataset_class(config)
    return type(theirs.__name__, (CleanRows, theirs), {})(config)


def _rows(table: Interaction, index) -> Interaction:
    """Returns ``table[index]`` faster than RecBole, which makes a list of the index per column."""
    if not isinstance(index, (int, slice)):
        index = torch.as_tensor(index)
    return Interaction({field: column[index] for field, column in table.interaction.items()})


def evaluation_batch(n_items: int, megabytes: int, cached: bool = False) -> int:
    """Returns the largest ``eval_batch_size`` (users x items) within a memory bound.

    With RecBole's default of 4,096 a catalogue of 4,096 items or more is ranked for one user at a
    time.

    Args:
        n_items: I.
        megabytes: The bound, in MiB.
        cached: Whether the scores should also fit a CPU's cache.
    """
    users = megabytes * 2**20 // (_EVALUATION_COPIES * 4 * n_items)
    if cached:
        users = min(users, _CACHED_SCORES // n_items)
    return max(1, min(users, 4096)) * n_items


def interactions_sha256(*loaders) -> str:
    """Hashes the <user, item> pairs of the parts in external ids, whatever the order of rows."""
    digest = hashlib.sha256()
    ids = Ids.of(loaders[0]._dataset)  # the parts have the ids of the dataset that was split
    user_rank, item_rank = (np.argsort(np.argsort(each)) for each in (ids.users, ids.items))
    for loader in loaders:
        dataset = loader._dataset
        users, items = (
            dataset.inter_feat[field].numpy() - 1
            for field in (dataset.uid_field, dataset.iid_field)
        )
        # The order of the ids themselves, found faster by their ranks.
        order = np.lexsort((item_rank[items], user_rank[users]))
        columns = ids.users[users[order]], ids.items[items[order]]
        digest.update(b"\0".join("\n".join(column.tolist()).encode() for column in columns))
    return digest.hexdigest()


def note_data(folder: Path, sha256: str | None) -> None:
    """Writes the data's hash to a run's folder, or compares it with the hash that is there.

    RecBole's own entry points never show a trainer the test set. A run by them has no hash (None),
    and its data are not checked later.

    Args:
        folder: The run's folder.
        sha256: The hash, or None.

    Raises:
        ValueError: If the folder was made from other interactions.
    """
    if (folder / DATA).exists():
        require_same_data(folder, sha256)
    else:
        with atomic_path(folder / DATA) as temporary:
            temporary.write_text(json.dumps({"sha256": sha256}), encoding="utf-8")


def known_data(folder: Path) -> str | None:
    """Returns the data hash in a run's folder; None for a run by RecBole's own entry points.

    Raises:
        ValueError: If the folder has no readable note of its data.
    """
    try:
        return read_json(folder / DATA, sha256=(str, type(None)))["sha256"]
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / DATA} does not say which data the run saw: {error}") from error


def require_same_data(folder: Path, sha256: str) -> None:
    """Refuses a run's folder that was made from other interactions.

    Args:
        folder: The run's folder.
        sha256: Hash of the interactions at hand.

    Raises:
        ValueError: If the hashes differ; the message names both.
    """
    known = known_data(folder)
    if None not in (known, sha256) and known != sha256:
        raise ValueError(
            f"{folder} was made on other data: its interactions hash to {known[:12]}, these to "
            f"{sha256[:12]}"
        )


def require_files(config) -> None:
    """Refuses a dataset whose files are missing, or are no longer those that ``prepare`` wrote.

    Raises:
        FileNotFoundError: Names the first missing file, and how to get it.
        ValueError: Names the first file that has changed since it was prepared, or whose header
            RecBole cannot read.
    """
    folder = Path(config["data_path"])
    parts = config["benchmark_filename"]
    names = [f"{config['dataset']}.{part}.inter" for part in parts or ()]
    names = names or [f"{config['dataset']}.inter"]
    for name in names:
        if not (folder / name).is_file():
            raise no_dataset(folder, config["dataset"], name)
    rank = config["cold_test_users"] == RANK
    require_as_prepared(folder, config["dataset"], with_cold_users=rank)
    require_headers(config, folder, names)


def _require_short_lists(config, n_items: int) -> None:
    """Refuses lists that are longer than the catalogue; the message names lengths that fit."""
    if max(config["topk"]) <= n_items:
        return
    fitting = [k for k in (5, 10) if k <= n_items] or [n_items]
    options = f"--topk={fitting}".replace(" ", "")
    metric, of_lists, _ = config["valid_metric"].partition("@")
    if of_lists:
        options += f" --valid_metric={metric}@{fitting[-1]}"
    raise ValueError(
        f"topk {config['topk']} asks for longer lists than there are items ({n_items}) in "
        f"{config['dataset']}: give shorter ones, such as {options}"
    )
