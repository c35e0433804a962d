"""The trainer that MGDCF's authors gave to every graph network they compared."""

import torch
from torch import Tensor, nn

from recbole_hill.host.dropout import dropout
from recbole_hill.model.bases.factorization import SampledScores
from recbole_hill.model.bases.graph_model import GraphModel
from recbole_hill.model.losses import sampled_softmax


class SoftmaxGraphModel(GraphModel):
    """Softmax over a positive and drawn negatives, *summed* over the batch, and L2 of all nodes.

    A subclass writes ``convolve``; dropout of its input and output is here. With one negative the
    loss is BPR. The tables start from a truncated normal of standard deviation D^-1/2, whatever
    ``init_std`` says of others.

    Settings: ``MatrixFactorization``'s (``reg_weight`` is of
    half the squared norms of all final node vectors), ``n_layers``, ``input_dropout``,
    ``edge_dropout``, ``output_dropout``.
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
        """Returns node vectors of node features, both (U + I, D)."""
        raise NotImplementedError

    def propagate(self, ego: Tensor) -> Tensor:
        """The convolution between two dropouts."""
        nodes = self.convolve(dropout(ego, self.input_dropout, self.training))
        return dropout(nodes, self.output_dropout, self.training)

    def adjacency(self) -> Tensor:
        """Returns the normalised graph, with edges dropped anew in training."""
        return self.graph.dropout(self.edge_dropout if self.training else 0.0)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The summed softmax loss, and L2 of every node but the padding."""
        user, positive, negative = self.draw(interaction)
        drawn = torch.cat((positive.unsqueeze(1), negative), 1)
        scores = SampledScores.apply(users[user], items, drawn)
        loss = sampled_softmax(scores[:, 0], scores[:, 1:]) * len(user)
        norms = users[1:].square().sum() + items[1:].square().sum()
        return loss + self.reg_weight / 2 * norms
