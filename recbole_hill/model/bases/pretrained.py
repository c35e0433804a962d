"""Initial embeddings from a finished run of another model on the same data."""

from pathlib import Path

import torch
from torch import Tensor, nn

from recbole_hill.data.splits import known_data, require_same_data
from recbole_hill.run.checkpoint import load_weights


class PretrainedStart:
    """A mixin, before a RecBole model: fills tables from a run of BPR or another with two tables.

    It happens when the first epoch begins, not when the model is built: a finished run that is
    loaded again does not need the other run's folder.

    Settings: ``pretrained_from`` (a run's folder, or empty).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.pretrained_from = config["pretrained_from"]
        self.run_config = config

    def pretrained_pairs(self) -> list[tuple[nn.Embedding, nn.Embedding]]:
        """Returns the pairs of a user and an item table to fill; the one pair by default."""
        return [(self.user_embedding, self.item_embedding)]

    @torch.no_grad()
    def begin_epoch(self, epoch: int) -> None:
        """Fills the tables before epoch 0."""
        if epoch > 0 or not self.pretrained_from:
            return
        found = pretrained_tables(self.pretrained_from, self.run_config["run_dir"])
        for pair in self.pretrained_pairs():
            for table, values in zip(pair, found, strict=True):
                if table.weight.shape != values.shape:
                    raise ValueError(
                        f"pretrained_from: {self.pretrained_from} has a table of shape "
                        f"{tuple(values.shape)}, this model one of {tuple(table.weight.shape)}"
                    )
                table.weight.copy_(self.from_pretrained(values.to(table.weight), table.weight))

    def from_pretrained(self, values: Tensor, drawn: Tensor) -> Tensor:
        """Returns what a table starts from, (N, D): the other run's in place of the drawn."""
        return values


def pretrained_tables(folder: str | Path, run_dir: str | Path) -> tuple[Tensor, Tensor]:
    """Reads the user and item tables that a run ended with.

    Args:
        folder: Folder of the finished run.
        run_dir: Folder of this run; the two must have seen the same train, validation and test
            interactions, or what this run validates on could be in the tables.

    Returns:
        Shapes (U, D) and (I, D), padding row first.

    Raises:
        ValueError: If the run is not whole, saw other data, or has no such tables.
    """
    folder = Path(folder)
    require_same_data(folder, known_data(Path(run_dir)))
    weights = load_weights(folder / "backbone.safetensors")
    names = ("user_embedding.weight", "item_embedding.weight")
    for name in names:
        if name not in weights:
            raise ValueError(f"pretrained_from: the model of {folder} has no {name}")
    return weights[names[0]], weights[names[1]]
