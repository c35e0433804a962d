"""What a dataset's rows are: each with a user and an item, a pair once, in the order of time.

RecBole reads ids such as ``NA`` as missing, deletes rows by wrong numbers where an id is missing,
splits the copies of a row among train and test, and compares times in float32, in which today's
times within a minute are the same. :class:`CleanRows` mends this for each of RecBole's datasets.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from recbole.utils import FeatureSource, FeatureType, ModelType

from recbole_hill.data.tables import keep_tables, read_tables
from recbole_hill.data.tasks import tasks_of
from recbole_hill.host.parsing import c_parser

#: Kinds of models that learn from pairs. For other kinds a repeated row is another impression.
_OF_PAIRS = (ModelType.GENERAL, ModelType.TRADITIONAL, ModelType.KNOWLEDGE)
#: Number of lines that a message names.
_NAMED = 5


class CleanRows:
    """Mixin of RecBole's Dataset; it stands before the Dataset in a class's bases."""

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
        with c_parser():
            table = super()._load_feat(filepath, source)
        if table is None:
            return None
        ids = [field for field in (self.uid_field, self.iid_field) if field in table]
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

    def _load_inter_feat(self, token, dataset_path):
        """Reads the interactions, and refuses an order of time without times."""
        super()._load_inter_feat(token, dataset_path)
        if self._by_time and self.field2type.get(self.time_field) != FeatureType.FLOAT:
            raise ValueError(
                f"eval_args order TO needs times: TIME_FIELD {self.time_field!r} must be a column "
                f"of type float in {token}.inter, which has {', '.join(self.inter_feat)}"
            )

    def _remap_ID_all(self):
        """Leaves a pair of one file out of later files."""
        super()._remap_ID_all()
        if self.benchmark_filename_list is not None:  # numbers now, which compare fast
            sizes = self.file_size_list
            self._keep_pairs_once(np.repeat(np.arange(len(sizes)), sizes))

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
        dropped = self.config["MODEL_TYPE"] in _OF_PAIRS and not tasks_of(self.config)
        self._say_repeated(pairs, repeated, parts, "dropped" if dropped else "kept as impressions")
        if dropped:
            self.inter_feat.drop(index=rows.index[repeated], inplace=True)
            if parts is not None:
                left = np.bincount(parts[~repeated], minlength=len(self.file_size_list))
                self.file_size_list = left.tolist()
                self.inter_feat.reset_index(drop=True, inplace=True)

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
