"""MF-CCL: matrix factorisation with the cosine contrastive loss.

Reference:
    Kelong Mao et al. "SimpleX: A Simple and Strong Baseline for Collaborative Filtering."
    in CIKM 2021.
"""

import torch
from torch import Tensor

from recbole_hill.host.dropout import dropout
from recbole_hill.model.bases.factorization import MatrixFactorization, SampledScores
from recbole_hill.model.losses import cosine_contrastive, unit


class MFCCL(MatrixFactorization):
    """Cosine scores, many negatives, and a margin below which a negative costs nothing (Eq. 1).

    As in the authors' code, the user vector is first scaled to length 1, then dropout is applied,
    and the result is not scaled again. The L2 term covers the whole tables.

    Settings: those of ``MatrixFactorization``, ``margin``, ``negative_weight`` (weight of the mean
    over the negatives), ``dropout_rate``, ``reg_weight``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.margin, self.negative_weight = config["margin"], config["negative_weight"]
        self.dropout_rate = config["dropout_rate"]

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the tables' rows scaled to length 1, so that inner products are cosines."""
        users, items = super().user_item_embeddings()
        return unit(users), unit(items)

    def query(self, users: Tensor, left_out: Tensor | None = None) -> Tensor:
        """Returns the vectors of some users, (B, D), at length 1; SimpleX uses ``left_out``."""
        return unit(self.user_embedding(users))

    def calculate_loss(self, interaction) -> Tensor:
        """The loss, with vectors of the batch's users alone."""
        return self.embedding_loss(None, unit(self.item_embedding.weight), interaction)

    def embedding_loss(self, users: Tensor | None, items: Tensor, interaction) -> Tensor:
        """The cosine contrastive loss plus half the tables' squared norms.

        It makes new user vectors for the batch, because SimpleX's vectors in ``users`` include the
        targets.
        """
        user, positive, negative = self.draw(interaction)
        query = self.query(user, positive)
        return self.contrast(query, items, positive, negative) + self.tables_l2()

    def ranking_loss(
        self,
        users: Tensor,
        items: Tensor,
        user: Tensor,
        positive: Tensor,
        negative: Tensor,
        ids: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """The cosine contrastive loss of a draw; all vectors have length 1."""
        return self.contrast(users[user], items, positive, negative)

    def contrast(self, query: Tensor, items: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The cosine contrastive loss of users, after dropout, and drawn items.

        Args:
            query: User vectors of length 1, shape (B, D).
            items: Item vectors of length 1, shape (I, D).
            positive: Item ids, shape (B,).
            negative: Item ids, shape (B, n).
        """
        query = dropout(query, self.dropout_rate, self.training)
        scores = SampledScores.apply(query, items, torch.cat((positive.unsqueeze(1), negative), 1))
        return cosine_contrastive(
            scores[:, 0], scores[:, 1:], margin=self.margin, weight=self.negative_weight
        )
