"""NeuMF as in NGCF's comparison: one perceptron over a pair's vectors and their product.

Reference:
    Xiangnan He et al. "Neural Collaborative Filtering." in WWW 2017; the network is the one of
    Xiang Wang et al. "Neural Graph Collaborative Filtering." in SIGIR 2019.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.host.dropout import dropout
from recbole_hill.model.bases.pair_score import PairScoreModel
from recbole_hill.model.bases.pretrained import PretrainedStart


class NeuMF(PretrainedStart, PairScoreModel):
    """Scores h^T MLP([u; i; u * i]), with one pair of tables, trained by BPR.

    HILL's Table 3 quotes the row of NGCF's comparison. The code behind that row is ``NMF.py`` of
    xiangwang1223/neural_graph_collaborative_filtering. A layer is dropout(ReLU(W z + b)); the
    paper has two of them, as wide as the vectors. The output h has no bias. The L2 terms are half
    the squared vectors of a batch's rows, divided by B, and half the squared norm of h. The other
    weights have none. All parameters start from Xavier's uniform distribution, or the tables from
    a trained BPR (``pretrained_from``). A batch has distinct users, drawn uniformly.

    The network of the WWW 2017 paper, with two pairs of tables, is ``NeuMF-WWW``; RecBole's class
    of it is ``recbole.NeuMF``, trained by cross-entropy on labels.

    The optimiser is RMSProp, as in that code (the SIGIR 2019 paper names Adam). PyTorch's averages
    squared gradients with .99 from 0, where TensorFlow's averages with .9 from 1.

    Full ranking splits the first layer into parts of user, item and product, so that a pair costs
    the part of the product and the layers above.

    Settings: :class:`~recbole_hill.model.bases.pair_score.PairScoreModel`'s, ``embedding_size``,
    ``mlp_hidden_size``, ``dropout_prob``, ``dense_reg_weight`` (weight of half the squared norm of
    h), ``pretrained_from``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.dropout_prob = config["dropout_prob"]
        self.dense_reg_weight = config["dense_reg_weight"]
        size, widths = config["embedding_size"], config["mlp_hidden_size"]
        self.user_embedding = nn.Embedding(self.n_users, size)
        self.item_embedding = nn.Embedding(self.n_items, size)
        self.layers = nn.ModuleList(nn.Linear(*shape) for shape in pairwise((3 * size, *widths)))
        self.output = nn.Linear(widths[-1], 1, bias=False)
        biases = [layer.bias.unsqueeze(0) for layer in self.layers]  # (1, H), as in their code
        for parameter in (*(p for p in self.parameters() if p.dim() == 2), *biases):
            nn.init.xavier_uniform_(parameter)

    def pair_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """The network, for pairs."""
        user, item = self.user_embedding(users), self.item_embedding(items)
        return self._score(self.layers[0](torch.cat((user, item, user * item), 1)))

    def block_scores(self, users: Tensor, items: Tensor) -> Tensor:
        """The network with its first layer split."""
        user, item = self.user_embedding(users), self.item_embedding(items)
        first = self.layers[0]
        of_user, of_item, of_product = first.weight.split(user.shape[1], dim=1)  # (H, D) each
        product = (user.unsqueeze(1) * of_product) @ item.T  # (b, H, n)
        alone = (user @ of_user.T + first.bias).unsqueeze(1) + item @ of_item.T  # (b, n, H)
        return self._score(product.transpose(1, 2) + alone)

    def _score(self, hidden: Tensor) -> Tensor:
        """Returns the score from the first layer before its ReLU, shape (..., H)."""
        hidden = self._bent(hidden)
        for layer in self.layers[1:]:
            hidden = self._bent(layer(hidden))
        return self.output(hidden).squeeze(-1)

    def _bent(self, hidden: Tensor) -> Tensor:
        return dropout(F.relu(hidden), self.dropout_prob, self.training)

    def calculate_loss(self, interaction) -> Tensor:
        """BPR with the L2 term of the vectors, and that of h."""
        penalty = self.output.weight.square().sum() / 2
        return super().calculate_loss(interaction) + self.dense_reg_weight * penalty

    def tables(self) -> tuple[list[nn.Embedding], list[nn.Embedding]]:
        """The two tables."""
        return [self.user_embedding], [self.item_embedding]
