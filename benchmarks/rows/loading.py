"""The dataset read from its files, before it is split."""

from recbole.data.dataset import Dataset

from recbole_hill.data.splits import SplitDataset
from rows.jobs import config_of
from rows.row import Row


class Loading(Row):
    """Both by RecBole's code, but for the parser."""

    what = "the dataset from its files"
    beside = "RecBole's `Dataset`, by pandas' Python parser"
    at_least = 3.0

    def prepare(self) -> None:
        """Makes the settings."""
        self.config = config_of(self.setting, "BPR")

    def ours(self) -> Dataset:
        """Returns our dataset."""
        return SplitDataset(self.config)

    def peer(self) -> Dataset:
        """Returns RecBole's."""
        return Dataset(self.config)

    def check(self) -> str:
        """Compares all columns and ids."""
        found, expected = self.ours(), self.peer()
        assert found.inter_feat.equals(expected.inter_feat)
        assert found.field2token_id == expected.field2token_id
        return f"{len(expected.inter_feat):,} interactions, all columns: 0"


ROWS = [Loading]
