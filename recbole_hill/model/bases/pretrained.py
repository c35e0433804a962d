"""Initial embeddings from a finished run of another model on the same data."""

from pathlib import Path

import torch
from torch import Tensor, nn

from recbole_hill.data.splits import known_data, require_same_data
from recbole_hill.run.checkpoint import load_weights
from recbole_hill.run.folder import BACKBONE
from recbole_hill.run.hashes import require_unchanged


class PretrainedStart:
    """A mixin, listed before a RecBole model: fills tables from a run of a model with two tables.

    The tables are filled when the first epoch begins, and not when the model is built. So loading a
    finished run does not need the folder of the other run.

    Settings: ``pretrained_from`` (a run's folder, for instance of BPR; or empty).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.pretrained_from = config["pretrained_from"]
        self.run_config = config

    def pretrained_pairs(self) -> list[tuple[nn.Embedding, nn.Embedding]]:
        """Returns the pairs of user and item table to fill; by default the model's one pair."""
        return [(self.user_embedding, self.item_embedding)]

    @torch.no_grad()
    def begin_epoch(self, epoch: int) -> None:
        """Fills the tables before epoch 0."""
        if epoch > 0 or not self.pretrained_from:
            return
        tables = pretrained_tables(self.pretrained_from, self.run_config["run_dir"])
        for pair in self.pretrained_pairs():
            for table, values in zip(pair, tables, strict=True):
                if table.weight.shape != values.shape:
                    raise ValueError(
                        f"pretrained_from: {self.pretrained_from} has a table of shape "
                        f"{tuple(values.shape)}, this model one of {tuple(table.weight.shape)}"
                    )
                table.weight.copy_(self.from_pretrained(values.to(table.weight), table.weight))

    def from_pretrained(self, values: Tensor, drawn: Tensor) -> Tensor:
        """Returns the start of a table, (N, D): the other run's values, not the drawn ones."""
        return values


def pretrained_tables(folder: str | Path, run_dir: str | Path) -> tuple[Tensor, Tensor]:
    """Reads the final user and item tables of a run.

    Args:
        folder: Folder of the finished run.
        run_dir: Folder of this run. Both runs must have seen the same train, validation and test
            interactions: otherwise the tables could contain this run's validation data.

    Returns:
        Shapes (U, D) and (I, D), padding row first.

    Raises:
        ValueError: If the run is incomplete, saw other data, or has no such tables.
    """
    folder = Path(folder)
    require_same_data(folder, known_data(Path(run_dir)))
    require_unchanged(folder, BACKBONE)
    weights = load_weights(folder / BACKBONE)
    names = ("user_embedding.weight", "item_embedding.weight")
    for name in names:
        if name not in weights:
            raise ValueError(f"pretrained_from: the model of {folder} has no {name}")
    return weights[names[0]], weights[names[1]]
