"""Auto-encoders of a user's row of items, which read the row's items and never the row's zeros."""

from typing import NamedTuple

import torch
from torch import Tensor

from recbole_hill.data.ragged import ranges
from recbole_hill.host.dropout import dropout
from recbole_hill.model.bases.attention import segment_sums
from recbole_hill.model.bases.fit_once import train_matrix


class UserRows(NamedTuple):
    """The train items of B users, one user after another, E in all.

    Attributes:
        crow: Start of each user's items, and the end of the last, shape (B + 1,).
        row: For each item the user's position among the B, shape (E,).
        item: Item ids, shape (E,).
    """

    crow: Tensor
    row: Tensor
    item: Tensor


class SparseRows:
    """A mixin, listed before one of RecBole's variational auto-encoders.

    The encoder's first layer is a sum of columns of its weight, one per item of the user; RecBole
    multiplies a dense row of all items, nearly all of them zeros. Dropout of the row is dropout of
    the user's items. The number of updates, by which the weight of the KL term anneals, is saved
    with the weights, so a resumed run continues where it stopped.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        weight = self.encoder[0].weight  # stored column by column, because columns are read
        weight.data = weight.data.t().contiguous().t()

    @property
    def update(self) -> int:
        """Number of steps taken so far."""
        return int(self.updates)

    @update.setter
    def update(self, value: int) -> None:
        self.register_buffer("updates", torch.tensor(value))

    def build_histroy_items(self, dataset) -> None:
        """Stores the train items of every user; RecBole asks for it by this name."""
        matrix = train_matrix(dataset)
        for name, array in {"row_starts": matrix.indptr, "row_items": matrix.indices}.items():
            self.register_buffer(name, torch.from_numpy(array).long(), persistent=False)

    def get_rating_matrix(self, user: Tensor) -> UserRows:
        """Returns the train items of some users (B,); RecBole asks for it by this name."""
        starts = self.row_starts[user]
        sizes = self.row_starts[user + 1] - starts
        crow = torch.cat((sizes.new_zeros(1), sizes.cumsum(0)))
        row = torch.repeat_interleave(sizes)
        return UserRows(crow, row, self.row_items[ranges(starts, sizes)])

    def encode(self, rows: UserRows, values: Tensor) -> Tensor:
        """Returns the encoder's output of rows scaled to length 1 and dropped out, (B, Z).

        Args:
            rows: The items of B users.
            values: The entries of these items before the scaling, shape (E,).
        """
        squares = values.new_zeros(len(rows.crow) - 1).index_add(0, rows.row, values.square())
        scaled = values / squares.clamp_min(1e-24).sqrt()[rows.row]
        weights = dropout(scaled, self.drop_out, self.training)
        first, *others = self.encoder
        hidden = segment_sums(weights, first.weight.t(), rows.item, rows.crow) + first.bias
        for layer in others:
            hidden = layer(hidden)
        return hidden

    def calculate_loss(self, interaction) -> Tensor:
        """The negative log-likelihood of the batch's rows, plus the annealed KL term."""
        rows = self.get_rating_matrix(interaction[self.USER_ID])
        self.update += 1
        anneal = self.anneal_cap
        if self.total_anneal_steps > 0:
            anneal = min(anneal, self.update / self.total_anneal_steps)
        logits, means, log_variances = self.forward(rows)
        return anneal * self.divergence(means, log_variances) - log_likelihood(logits, rows)


def log_likelihood(logits: Tensor, rows: UserRows) -> Tensor:
    """Returns ln softmax of the logits (B, I), summed over a user's items: the mean over users."""
    total = logits[rows.row, rows.item].sum() - (rows.crow.diff() * logits.logsumexp(1)).sum()
    return total / len(logits)
