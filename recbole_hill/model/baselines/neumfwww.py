"""NeuMF-WWW: matrix factorisation and a multi-layer perceptron on tables of their own.

Reference:
    Xiangnan He et al. "Neural Collaborative Filtering." in WWW 2017.
"""

import torch
from recbole.model.general_recommender import neumf
from torch import Tensor, nn

from recbole_hill.model.bases.pair_score import PairScoreModel
from recbole_hill.model.bases.pretrained import PretrainedStart


class NeuMFWWW(PretrainedStart, PairScoreModel, neumf.NeuMF):
    """The network of the WWW 2017 paper, h^T [p * q; MLP([p'; q'])], trained by BPR.

    HILL's Table 3 quotes the row of NGCF's comparison, whose network is another: ``NeuMF``.
    RecBole's class (``recbole.NeuMF``) is the base of this one, which differs in four points:

    - It is trained by BPR on drawn negatives with an L2 term, as the rows of NGCF's comparison are
      (SIGIR 2019, section 4.2). RecBole's is trained by cross-entropy on labels.
    - Full ranking splits the first layer into a user half and an item half, so that a block of
      pairs costs only the layers after it. RecBole would score every pair with ``predict``.
    - A score is the logit. RecBole returns its sigmoid, which gives the same ranking.
    - ``pretrained_from`` fills both pairs of tables from one run of BPR. RecBole's own pretraining
      (``use_pretrain``), from a GMF and an MLP model that RecBole wrote, exists in
      ``recbole.NeuMF``.

    Settings: :class:`~recbole_hill.model.bases.pair_score.PairScoreModel`'s, ``mf_embedding_size``,
    ``mlp_embedding_size``, ``mlp_hidden_size``, ``dropout_prob``, ``mf_train``, ``mlp_train``,
    ``pretrained_from``.
    """

    def pair_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """RecBole's forward pass."""
        return self.forward(users, items)

    def block_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """The same network with its first layer split; dropout is off, as in all ranking."""
        if not (self.mf_train and self.mlp_train):
            return super().block_scores(users, items)
        _, first, *rest = self.mlp_layers.mlp_layers
        user_half, item_half = first.weight.split(self.mlp_embedding_size, dim=1)
        user_side = self.user_mlp_embedding(users) @ user_half.T + first.bias  # (b, H)
        item_side = self.item_mlp_embedding(items) @ item_half.T  # (n, H)
        hidden = user_side.unsqueeze(1) + item_side  # (b, n, H)
        for layer in rest:
            hidden = layer(hidden)
        sizes = (self.mf_embedding_size, hidden.shape[-1])
        of_product, of_hidden = self.predict_layer.weight[0].split(sizes)
        product = (self.user_mf_embedding(users) * of_product) @ self.item_mf_embedding(items).T
        return (
            torch.addmv(product.flatten(), hidden.flatten(0, 1), of_hidden).view_as(product)
            + self.predict_layer.bias
        )

    def tables(self) -> tuple[list[nn.Embedding], list[nn.Embedding]]:
        """The tables of both halves."""
        users, items = zip(*self.pretrained_pairs(), strict=True)
        return list(users), list(items)

    def pretrained_pairs(self) -> list[tuple[nn.Embedding, nn.Embedding]]:
        """The tables of both halves; both start from one run."""
        return [
            (self.user_mf_embedding, self.item_mf_embedding),
            (self.user_mlp_embedding, self.item_mlp_embedding),
        ]
