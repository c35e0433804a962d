"""The trainer that MGDCF's authors used for every graph network in their comparison."""

import torch
from torch import Tensor, nn

from recbole_hill.host.dropout import dropout
from recbole_hill.model.bases.factorization import SampledScores
from recbole_hill.model.bases.graph_model import GraphModel
from recbole_hill.model.losses import sampled_softmax


class SoftmaxGraphModel(GraphModel):
    """Softmax over a positive and drawn negatives, *summed* over the batch, plus L2 of all nodes.

    A subclass defines ``convolve``; this class applies dropout before and after it. With one
    negative the loss is BPR. The tables start from a truncated normal distribution with standard
    deviation D^-1/2; ``init_std`` has no effect.

    Settings: ``MatrixFactorization``'s (``reg_weight`` weighs half the squared norms of all final
    node vectors), ``n_layers``, ``input_dropout``, ``edge_dropout``, ``output_dropout``.
    """

    sums_over_batch = True

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_layers = config["n_layers"]
        self.input_dropout, self.edge_dropout = config["input_dropout"], config["edge_dropout"]
        self.output_dropout = config["output_dropout"]
        for table in (self.user_embedding, self.item_embedding):
            std = table.embedding_dim**-0.5
            nn.init.trunc_normal_(table.weight, std=std, a=-2 * std, b=2 * std)

    def convolve(self, x: Tensor) -> Tensor:
        """Returns node vectors made from node features, both of shape (U + I, D)."""
        raise NotImplementedError

    def propagate(self, ego: Tensor) -> Tensor:
        """Returns the convolution with dropout before and after it."""
        nodes = self.convolve(dropout(ego, self.input_dropout, self.training))
        return dropout(nodes, self.output_dropout, self.training)

    def adjacency(self) -> Tensor:
        """Returns the normalised graph; in training every call drops edges anew."""
        return self.graph.dropout(self.edge_dropout if self.training else 0.0)

    def calculate_loss(self, interaction) -> Tensor:
        """The loss of one batch, which contains the norms of all vectors."""
        return self.embedding_loss(*self.user_item_embeddings(), interaction)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The summed softmax loss, plus L2 of every node except the padding."""
        user, positive, negative = self.draw(interaction)
        drawn = torch.cat((positive.unsqueeze(1), negative), 1)
        scores = SampledScores.apply(users[user], items, drawn)
        loss = sampled_softmax(scores[:, 0], scores[:, 1:]) * len(user)
        norms = users[1:].square().sum() + items[1:].square().sum()
        return loss + self.reg_weight / 2 * norms
