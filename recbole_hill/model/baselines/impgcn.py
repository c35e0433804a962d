"""IMP-GCN: high-order messages stay within groups of users with similar interests.

Reference:
    Fan Liu et al. "Interest-aware Message-Passing GCN for Recommendation." in WWW 2021.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.data.graph import InteractionGraph, product
from recbole_hill.data.polynomial import polynomial
from recbole_hill.host.dropout import dropout
from recbole_hill.model.bases.graph_model import GraphModel


class IMPGCN(GraphModel):
    """The mean of E, A E and, for further layers, A sum_g s_g with s_g = A_g x_g, x_g += s_g.

    A user's group is the argmax of W2 dropout(LeakyReLU(W1 (A E + E) + b1)) + b2. A_g keeps the
    entries of A that belong to the group's users, without a new normalisation. x_g starts at E.
    This follows the authors' code, with a second product by A that the paper's Eq. 4 does not show.
    The argmax passes no gradient, so W1 and W2 keep their initial values; they are stored as
    buffers.

    The authors' dropout is on in evaluation, too, where it makes the groups random. Here it is off.

    Every user is in one group. So the graphs of all groups together are one graph with a copy of
    each item per group, and a layer takes one product instead of one per group.

    Settings: :class:`~recbole_hill.model.bases.factorization.MatrixFactorization`'s, ``n_layers``,
    ``n_groups``, ``group_dropout``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_layers = config["n_layers"]
        self.n_groups = config["n_groups"]
        self.group_dropout = config["group_dropout"]
        binomials = torch.tensor([math.comb(self.n_layers - 1, k) for k in range(self.n_layers)])
        self.register_buffer("binomials", binomials.float(), persistent=False)
        size = config["embedding_size"]
        for name, shape in {"hidden": (size, size), "choice": (self.n_groups, size)}.items():
            self.register_buffer(f"{name}_weight", nn.init.xavier_uniform_(torch.empty(shape)))
            bias = nn.init.xavier_uniform_(torch.empty(1, shape[0])).squeeze(0)
            self.register_buffer(f"{name}_bias", bias)

    @torch.no_grad()
    def groups(self, ego: Tensor) -> Tensor:
        """Returns each user's group, shape (U,).

        Args:
            ego: E, shape (U + I, D).
        """
        everyone = torch.arange(self.n_users, device=ego.device)
        users = ego[: self.n_users] + product(self.graph.normalized(), ego, everyone)
        hidden = F.leaky_relu(F.linear(users, self.hidden_weight, self.hidden_bias), 0.2)
        hidden = dropout(hidden, self.group_dropout, self.training)
        return F.linear(hidden, self.choice_weight, self.choice_bias).argmax(1)

    def propagate_to(self, nodes: Tensor | slice, ego: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mean of the layers, and the table rows.

        A is applied once, to the sum of all messages, which is ((I + A_g)^(L - 1) - I) x_g.
        """
        within = grouped(self.graph, self.groups(ego), self.n_groups)
        users, items = ego.split((self.n_users, self.n_items))
        start = torch.cat((users, items.repeat(self.n_groups, 1)))
        messages = polynomial(within, start, self.binomials) - start
        users, copies = messages.split((self.n_users, self.n_groups * self.n_items))
        items = copies.unflatten(0, (self.n_groups, -1)).sum(0)
        layers = product(self.graph.normalized(), ego + torch.cat((users, items)), nodes)
        return (ego[nodes] + layers) / (self.n_layers + 1), ego[nodes]


def grouped(graph: InteractionGraph, groups: Tensor, n_groups: int) -> Tensor:
    """Returns the normalised graph with one copy of every item per group of users.

    A user has edges to the item copies of the user's group.

    Args:
        graph: Graph of U users and I items.
        groups: Group of each user, shape (U,).
        n_groups: Number of groups, G.

    Returns:
        Sparse CSR, symmetric, shape (U + G I, U + G I).
    """
    half, n_users, n_items = graph.n_edges, graph.n_users, graph.n_items
    user, item = graph.row[:half], graph.col[:half] - n_users
    values = graph.normalized().values()[:half]
    copy = groups[user] * n_items + item
    order = torch.argsort(copy, stable=True)  # users stay sorted within a copy's row
    counts = torch.bincount(copy, minlength=n_groups * n_items)
    crow = torch.cat((graph.crow[: n_users + 1], half + counts.cumsum(0)))
    size = n_users + n_groups * n_items
    return torch.sparse_csr_tensor(
        crow,
        torch.cat((n_users + copy, user[order])),
        torch.cat((values, values[order])),
        size=(size, size),
        check_invariants=False,
    )
