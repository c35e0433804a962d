"""What a dataset's rows are: each with a user and an item, a pair once, in the order of time.

RecBole reads ids such as ``NA`` as missing, deletes rows by wrong numbers where an id is missing,
splits the copies of a row among train and test, and compares times in float32, in which today's
times within a minute are the same. :class:`CleanRows` mends this for each of RecBole's datasets.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from recbole.utils import FeatureSource, FeatureType, ModelType

from recbole_hill.data.cold_users import DROP
from recbole_hill.data.file_checks import check_file
from recbole_hill.data.tables import keep_tables, read_tables
from recbole_hill.data.tasks import tasks_of
from recbole_hill.host.parsing import c_parser, text_encoding

#: Kinds of models that learn from pairs. For other kinds a repeated row is another impression.
_OF_PAIRS = (ModelType.GENERAL, ModelType.TRADITIONAL, ModelType.KNOWLEDGE)
#: Above this, a time is taken for one since 1970, in seconds or a smaller unit (it is in 1973).
_EPOCH_SECONDS = 1e8
#: Number of lines that a message names.
_NAMED = 5


class CleanRows:
    """Mixin of RecBole's Dataset; it stands before the Dataset in a class's bases.

    Attributes:
        cold_test_users: Number of users who have a row in validation or test, and none in train. By
            the setting of this name their rows are dropped here, or kept.
    """

    cold_test_users = 0

    @property
    def _by_time(self) -> bool:
        """Whether rows are put in the order of their times."""
        ordered = self.config["eval_args"]["order"] == "TO"
        ordered |= self.config["MODEL_TYPE"] == ModelType.SEQUENTIAL
        return ordered and self.benchmark_filename_list is None

    def _load_data(self, token, dataset_path):
        """Reads the data set's files, or the tables of them that a finished run keeps.

        The two settings are none of a user's: a run sets ``keep_tables``, and its loading
        ``kept_tables``, to the run's folder.
        """
        if kept := self.config["kept_tables"]:
            read_tables(self, Path(kept))
            return
        super()._load_data(token, dataset_path)
        if run := self.config["keep_tables"]:
            keep_tables(self, Path(run))

    def _get_load_and_unload_col(self, source):
        """Adds the times to what is read of the interactions, where their order needs them."""
        wanted, unwanted = super()._get_load_and_unload_col(source)
        if source == FeatureSource.INTERACTION and self._by_time and self.time_field:
            wanted = wanted and wanted | {self.time_field}
            unwanted = unwanted and unwanted - {self.time_field}
        return wanted, unwanted

    def _load_feat(self, filepath, source):
        """Reads a file, and leaves out rows without an id, which are counted and named."""
        ids = (self.uid_field, self.iid_field)
        encoding = text_encoding(self.config["encoding"])
        check_file(Path(filepath), self.config["field_separator"], encoding, ids)
        with c_parser():
            table = super()._load_feat(filepath, source)
        if table is None:
            return None
        ids = [field for field in ids if field in table]
        for field in ids:
            if len(padding := table.index[table[field] == "[PAD]"]):
                raise ValueError(
                    f"{filepath}, line {padding[0] + 2}: {field} [PAD] is RecBole's mark for no "
                    f"{field}; accepted is any other id"
                )
        if source == FeatureSource.INTERACTION and self._by_time:
            self._require_times(table, filepath)
        missing = table.index[table[ids].isna().any(axis=1)]
        if len(missing):
            lines = ", ".join(str(row + 2) for row in missing[:_NAMED])
            self.logger.warning(
                f"{Path(filepath).name}: {len(missing):,} of {len(table):,} rows have no "
                f"{' or '.join(ids)} and are removed (line {lines}"
                f"{', ...' if len(missing) > _NAMED else ''})"
            )
            table.drop(index=missing, inplace=True)
        if source == FeatureSource.INTERACTION and table.empty:
            raise ValueError(f"{filepath} has no row with {' and '.join(ids)}")
        table.reset_index(drop=True, inplace=True)
        return table

    def _require_times(self, table: pd.DataFrame, filepath) -> None:
        """Refuses a time that is missing or infinite, and times in two units.

        RecBole would put the mean in place of a missing time.
        """
        if self.field2type.get(self.time_field) != FeatureType.FLOAT:
            return
        times = table[self.time_field]
        if len(bad := times.index[~np.isfinite(times)]):
            raise ValueError(
                f"{filepath}, line {bad[0] + 2}: {self.time_field} {times[bad[0]]} is no time; "
                "order TO accepts a finite number in every row"
            )
        if len(times) and times.min() > _EPOCH_SECONDS and times.max() > 500 * times.min():
            raise ValueError(
                f"{filepath}, line {times.idxmax() + 2}: {self.time_field} {times.max():.0f} and "
                f"line {times.idxmin() + 2}: {times.min():.0f} cannot both be seconds or both "
                "milliseconds; accepted is one unit"
            )

    def _load_inter_feat(self, token, dataset_path):
        """Reads the interactions, and refuses an order of time without times."""
        super()._load_inter_feat(token, dataset_path)
        if self._by_time and self.field2type.get(self.time_field) != FeatureType.FLOAT:
            split = self.config["split"]
            by = f"split {split}" if split else "eval_args order TO"
            raise ValueError(
                f"{by} needs times: TIME_FIELD {self.time_field!r} must be a column "
                f"of type float in {token}.inter, which has {', '.join(self.inter_feat)}"
            )

    @property
    def of_pairs(self) -> bool:
        """Whether the model learns from pairs; a repeated row is then no other impression."""
        return self.config["MODEL_TYPE"] in _OF_PAIRS and not tasks_of(self.config)

    def build(self):
        """Splits as RecBole does; then finds users of later parts without a row in train."""
        parts = super().build()
        if self.benchmark_filename_list is None and self.of_pairs:
            users = [part.inter_feat[self.uid_field] for part in parts]
            gone = self._cold_users(users[0].numpy(), torch.cat([users[0][:0], *users[1:]]).numpy())
            for part, users_here in zip(parts, users, strict=True) if len(gone) else ():
                kept = ~torch.isin(users_here, torch.from_numpy(gone))
                part.inter_feat = part.inter_feat[kept]
        return parts

    def _cold_users(self, train: np.ndarray, later: np.ndarray) -> np.ndarray:
        """Counts and logs the users without a train row.

        Args:
            train: User of each train row.
            later: User of each row of validation and test.

        Returns:
            The users whose rows are to be dropped; none if ``cold_test_users`` keeps them.
        """
        rule = self.config["cold_test_users"]
        cold, counts = np.unique(later[~pd.Index(later).isin(train)], return_counts=True)
        self.cold_test_users = len(cold)
        if len(cold):
            drop = "left out of validation and test"
            rank = "kept; every model ranks for them by popularity in train"
            self.logger.warning(
                f"cold_test_users {rule}: {len(cold):,} users with {counts.sum():,} rows have no "
                f"train item: {drop if rule == DROP else rank}"
            )
        return cold if rule == DROP else cold[:0]

    def _drop_cold_users(self) -> None:
        """Finds users of later files without a row in the first, before ids become numbers.

        A model then has no weights for the users who are left out.
        """
        users, n_train = self.inter_feat[self.uid_field].to_numpy(), self.file_size_list[0]
        # By pandas: NumPy compares texts pair by pair, minutes on Gowalla.
        gone = pd.Index(users).isin(self._cold_users(users[:n_train], users[n_train:]))
        if gone.any():
            self._keep_rows(~gone)

    def _keep_rows(self, kept: np.ndarray) -> None:
        """Keeps some rows of several files, and the number of rows of each file."""
        parts = np.repeat(np.arange(len(self.file_size_list)), self.file_size_list)
        left = np.bincount(parts[kept], minlength=len(self.file_size_list))
        self.file_size_list = left.tolist()
        self.inter_feat = self.inter_feat[kept].reset_index(drop=True)

    def _remap_ID_all(self):
        """Leaves a pair of one file out of later files."""
        if self.benchmark_filename_list is not None and self.of_pairs:
            self._drop_cold_users()
        super()._remap_ID_all()
        if self.benchmark_filename_list is not None:  # numbers now, which compare fast
            sizes = self.file_size_list
            self._keep_pairs_once(np.repeat(np.arange(len(sizes)), sizes))

    def _normalize(self):
        self._require_read("normalize_field")
        super()._normalize()

    def _discretization(self):
        self._require_read("discretization")
        super()._discretization()

    def _require_read(self, key: str) -> None:
        """Refuses a setting that names a column that is not read."""
        for field in self.config[key] or ():
            if field not in self.field2type:
                columns = ", ".join(map(str, self.field2type))
                raise ValueError(
                    f"{key} must be of columns that are read, {columns}; got {field!r}"
                )

    def _filter_by_field_value(self):
        """Leaves out repeated pairs after the rows that RecBole leaves out for their values."""
        super()._filter_by_field_value()
        self._keep_pairs_once()

    def _keep_pairs_once(self, parts: np.ndarray | None = None) -> None:
        """Keeps the first row of every <user, item> pair, and says how many others there are.

        They are only counted for a model that learns from impressions.

        Args:
            parts: For rows of several files, the number of each row's file, shape (E,).
        """
        rows = self.inter_feat
        if self._by_time:
            rows = rows.sort_values(self.time_field, kind="stable")
        pairs = rows[[self.uid_field, self.iid_field]]
        repeated = pairs.duplicated()
        if not repeated.any():
            return
        dropped = self.of_pairs
        self._say_repeated(pairs, repeated, parts, "dropped" if dropped else "kept as impressions")
        if dropped and parts is None:
            self.inter_feat.drop(index=rows.index[repeated], inplace=True)
        elif dropped:
            self._keep_rows(~repeated.to_numpy())

    def _say_repeated(
        self, pairs: pd.DataFrame, repeated: pd.Series, parts: np.ndarray | None, fate: str
    ) -> None:
        """Logs a line per file with repeated pairs."""
        names = [f".{name}" for name in self.benchmark_filename_list or ()] or [""]
        if parts is None:
            parts = np.zeros(len(pairs), dtype=np.int64)
        within = pairs.assign(part=parts).duplicated()
        for part, name in enumerate(names):
            here, file = parts == part, f"{self.dataset_name}{name}.inter"
            for where, these in (("it", within), ("an earlier file", repeated & ~within)):
                if n := int(these[here].sum()):
                    self.logger.warning(
                        f"{file}: {n:,} of {here.sum():,} rows repeat a <user, item> pair of "
                        f"{where}: {fate}"
                    )

    def _change_feat_format(self):
        """Makes tensors of the tables; rows are put in order before, because tensors are float32.

        RecBole sorts by time again. Its sort is stable, so that it changes nothing.
        """
        if self._by_time and self.inter_feat[self.time_field].dtype.kind == "f":
            sort_by_time(self)
        super()._change_feat_format()


def sort_by_time(dataset) -> None:
    """Puts the rows of a RecBole dataset, still a table, in the order of their times."""
    dataset.inter_feat.sort_values(
        dataset.time_field, kind="stable", inplace=True, ignore_index=True
    )
