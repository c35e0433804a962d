"""EGCF: graph collaborative filtering without a table of users.

Reference:
    Yi Zhang et al. "Simplify to the Limit! Embedding-less Graph Collaborative Filtering for
    Recommender Systems." in TOIS 2024.
"""

import math

import torch
from torch import Tensor, nn

from recbole_hill.data.graph import EVERY, InteractionGraph, product
from recbole_hill.model.bases.factorization import SampledModel
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.graph_model import distinct
from recbole_hill.model.losses import CosineLogSumExp, squared_l2, temperature, unit

#: Added to each softmax before its logarithm, as in the authors' code.
_LEAST_SHARE = 1e-5


class EGCF(SampledModel):
    """BPR + ``ssl_weight`` InfoNCE + L2; users and items are made from the table V of items alone.

    With R the normalised train matrix, Z_1 = tanh(R V) are vectors of users, Z_2 = tanh(R^T Z_1) of
    items, Z_3 = tanh(R Z_2) of users, and so on. The final vectors are sums of these, V left out:

    - ``parallel`` (the authors' choice for Yelp2018 and Amazon-Book): with A the normalised graph,
      layer l of users and items together is X_l = tanh(A X_{l-1}), where X_0 = [tanh(R V); V]. The
      graph has edges between users and items alone. So each layer repeats one half of the layer
      before: three layers are Z_1, Z_3, Z_3 for users and Z_2, Z_2, Z_4 for items.
    - ``alternating``: three layers are Z_1, Z_3, Z_5 for users and Z_2, Z_4, Z_6 for items.

    InfoNCE is the mean over the batch's pairs of -ln(softmax + 1e-5), where the softmax is of
    cosines over ``ssl_tau``. It is the sum of three terms: each user among the batch's users, each
    item among its items, each user's item among its items. The L2 term is of the rows of V of the
    drawn items.

    The authors add 1e-7 to BPR's sigmoid before the logarithm, and this class does not. The loss of
    a pair differs by less than .003 where it is below 10.

    Settings: :class:`~recbole_hill.model.bases.factorization.DeviceSampling`'s, ``embedding_size``,
    ``n_layers``, ``aggregation``, ``ssl_weight``, ``ssl_tau``, ``reg_weight``. V starts from
    Xavier's uniform distribution.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.graph = InteractionGraph(train_matrix(dataset))
        self.item_embedding = nn.Embedding(self.n_items, config["embedding_size"])
        nn.init.xavier_uniform_(self.item_embedding.weight)
        self.ssl_weight, self.reg_weight = config["ssl_weight"], config["reg_weight"]
        self.ssl_tau = temperature("ssl_tau", config["ssl_tau"])
        #: How often Z_1, Z_2, ... are in the sums.
        self.times = [1] * 2 * config["n_layers"]
        if config["aggregation"] == "parallel":
            self.times = [1, *[2] * (config["n_layers"] - 1), 1]

    def vectors_of(self, users: Tensor | slice, items: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Returns the vectors of some users (n, D) and items (m, D).

        The products of the last step are computed for these items (or users) alone.

        Args:
            users: Ids, shape (n,); or all.
            items: Ids, shape (m,); or all.
        """
        x, sides = self.item_embedding.weight, self.graph.sides()
        wanted, totals, last = (users, items), [0, 0], len(self.times) - 1
        for step, times in enumerate(self.times):
            side = step % 2
            rows = wanted[side] if step == last else EVERY
            x = product(sides[side], x, rows, transposed=sides[1 - side]).tanh()
            totals[side] = totals[side] + times * (x if step == last else x[wanted[side]])
        return tuple(totals)

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the vectors of all users and items."""
        return self.vectors_of(EVERY, EVERY)

    def calculate_loss(self, interaction) -> Tensor:
        """The loss of one batch, from the vectors of its users and items alone."""
        users, items, places = distinct(*self.draw(interaction))
        table = self.item_embedding(items)
        return self.loss_of(*self.vectors_of(users, items), table, *places)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The same loss, given the vectors of all users and items."""
        return self.loss_of(users, items, self.item_embedding.weight, *self.draw(interaction))

    def loss_of(
        self,
        users: Tensor,
        items: Tensor,
        table: Tensor,
        user: Tensor,
        positive: Tensor,
        negative: Tensor,
    ) -> Tensor:
        """The loss of a draw.

        Args:
            users: Vectors of all users, shape (U, D), or of some.
            items: Vectors of all items, shape (I, D), or of some.
            table: Rows of V of the same items.
            user: Rows of ``users``, shape (B,).
            positive: Rows of ``items``, shape (B,).
            negative: Rows of ``items``, shape (B, n).
        """
        loss = self.ranking_loss(users, items, user, positive, negative)
        loss = loss + self.ssl_weight * self.contrast(users, items, user, positive)
        return loss + self.reg_weight * squared_l2(table[positive], table[negative])

    def contrast(self, users: Tensor, items: Tensor, user: Tensor, item: Tensor) -> Tensor:
        """Returns the sum of the three InfoNCE terms of pairs of a user (B,) and an item (B,).

        Each different user or item of the batch is computed once, and counted as often as it
        occurs.
        """
        sides = []
        for vectors, ids in ((users, user), (items, item)):
            ids, place, counts = ids.unique(return_inverse=True, return_counts=True)
            sides.append((unit(vectors[ids]), place, counts.float()))
        of_user, of_item = sides
        total = 0.0
        for (first, row, _), (second, column, counts) in (
            (of_user, of_user),
            (of_item, of_item),
            (of_user, of_item),
        ):
            own = (first[row] * second[column]).sum(1) / self.ssl_tau
            sums = CosineLogSumExp.apply(first, second, counts, self.ssl_tau, torch.float32)
            log_share = own - sums[row]
            least = log_share.new_tensor(math.log(_LEAST_SHARE))
            total = total - torch.logaddexp(log_share, least).mean()
        return total
