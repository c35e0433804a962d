"""ENMF: weighted least squares over all pairs, without sampling.

Reference:
    Chong Chen et al. "Efficient Neural Matrix Factorization without Sampling for Recommendation."
    in TOIS 2020.
"""

import torch
from torch import Tensor, nn

from recbole_hill.data.graph import InteractionGraph
from recbole_hill.host.dropout import dropout
from recbole_hill.model.bases.embedding import EmbeddingModel
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.pair_products import pair_products


class ENMF(EmbeddingModel):
    """Scores s = h^T (p * q), with a loss over all items for a batch of users (Eq. 12).

    With w = ``negative_weight`` the loss is w sum_ab [(Q^T Q) * (P^T P) * (h h^T)]_ab, plus the sum
    over the users' train items of (1 - w) s^2 - 2 s.

    RecBole's class of this name pads histories with item 0, whose vector is not zero after its
    initialisation. So every padded place counts as one more positive; on Gowalla most places are
    padded. RecBole also applies the user's dropout to the second sum alone. Here histories are not
    padded, and both sums use the user vector after dropout, as in the authors' code. ``h`` is
    multiplied into the user vector.

    Settings: ``embedding_size``, ``init_std``, ``init_weight`` (start of h), ``dropout_rate``,
    ``negative_weight``.
    """

    sums_over_batch = True

    #: A batch consists of users, each once an epoch, instead of interactions.
    user_wise = True

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        size = config["embedding_size"]
        self.dropout_rate = config["dropout_rate"]
        self.negative_weight = config["negative_weight"]
        self.graph = InteractionGraph(train_matrix(dataset))
        self.user_embedding = nn.Embedding(self.n_users, size)
        self.item_embedding = nn.Embedding(self.n_items, size)
        for table in (self.user_embedding, self.item_embedding):
            nn.init.normal_(table.weight, std=config["init_std"])
        self.weight = nn.Parameter(torch.full((size,), float(config["init_weight"])))

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns p * h and q."""
        return self.user_embedding.weight * self.weight, self.item_embedding.weight

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The loss of the batch's users; each user counts once."""
        user = torch.unique(interaction[self.USER_ID])
        user = user[user > 0]  # the loader also yields the padding user
        query = dropout(users[user], self.dropout_rate, self.training)
        _, row, column = self.graph.rows(user)
        positive = pair_products(query, row, items, column - self.n_users)
        everything = ((items[1:].T @ items[1:]) * (query.T @ query)).sum()
        w = self.negative_weight
        return w * everything + ((1 - w) * positive.square() - 2 * positive).sum()
