"""Test-time training: the backbone's loss plus the same pairwise loss on <user, node> pairs."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hill.adapt.pairs import Pairs

#: Candidates that the ``hard`` negative is the best scored of.
_HARD_CANDIDATES = 32


class PairLoss:
    """Draws a share of the pairs for every step and scores each against another node.

    An epoch visits each pair once on average. The negative node of <u, n> is another node of the
    same depth: any (``random``), another child of n's parent (``sibling``; at the top, or without
    siblings, any), the best scored of several random ones (``hard``), or all of them (``all``: the
    loss is then the softmax cross-entropy over the depth; weighted by rate, a user's interest rates
    are its soft target).

    Args:
        pairs: The <user, node> pairs (RecBole user ids, node ids per depth).
        nodes: The index's :class:`~recbole_hill.index.node_vectors.NodeVectors`.
        steps: Training steps of an epoch.
        negatives: ``random`` | ``sibling`` | ``hard`` | ``all``.
        frozen: Whether node vectors stay as indexed instead of following the items.
        by_rate: Whether pairs weigh in proportion to their interest rate, at a mean of 1 per depth.
    """

    def __init__(
        self,
        pairs: Pairs,
        nodes,
        steps: int,
        *,
        negatives: str,
        frozen: bool,
        by_rate: bool = False,
    ):
        self.nodes, self.negatives, self.frozen = nodes, negatives, frozen
        self.by_depth = {}
        for depth in sorted(set(pairs.depths.tolist())):
            here = pairs.at_depth(depth)
            users, nodes_here = torch.from_numpy(here.users), torch.from_numpy(here.nodes)
            weights = torch.ones(len(here))
            if by_rate:
                weights = torch.from_numpy(here.rates / here.rates.mean()).float()
            self.by_depth[depth] = (users, nodes_here, weights, math.ceil(len(here) / steps))

    def __call__(self, users: Tensor, items: Tensor) -> Tensor:
        """Returns the mean loss of this step's pairs.

        Args:
            users: User vectors, shape (U, D).
            items: Item vectors with the padding row, shape (I + 1, D).
        """
        losses = []
        for depth, (all_users, all_nodes, all_weights, size) in self.by_depth.items():
            drawn = torch.randint(len(all_users), (size,))
            user = users[all_users[drawn].to(users.device)]
            node, weights = (x[drawn].to(users.device) for x in (all_nodes, all_weights))
            if self.negatives == "all":
                found = F.cross_entropy(user @ self._all(depth, items).T, node, reduction="none")
            else:
                negative = self._negatives(depth, user, node, items)
                vectors = self._some(torch.cat((node, negative)), depth, items)
                positive, other = (user * vectors.view(2, *user.shape)).sum(2)
                found = F.softplus(other - positive)
            losses.append(weights * found)
        return torch.cat(losses).mean() if losses else users.new_zeros(())

    def _all(self, depth: int, items: Tensor) -> Tensor:
        return self.nodes.frozen(depth) if self.frozen else self.nodes.means(items, depth)

    def _some(self, nodes: Tensor, depth: int, items: Tensor) -> Tensor:
        if self.frozen:
            return self.nodes.frozen(depth)[nodes]
        return self.nodes.means_of(nodes, items, depth)

    @torch.no_grad()
    def _negatives(self, depth: int, user: Tensor, node: Tensor, items: Tensor) -> Tensor:
        n_nodes = self.nodes.count(depth)
        if n_nodes == 1:
            return node  # nothing to tell apart: the loss is a constant
        if self.negatives == "hard":
            candidates = _other_than(node.unsqueeze(1).expand(-1, _HARD_CANDIDATES), n_nodes)
            rivals = self._all(depth, items)[candidates]
            best = torch.einsum("bd,bcd->bc", user, rivals).argmax(1, keepdim=True)
            return candidates.gather(1, best).squeeze(1)
        anything = _other_than(node, n_nodes)
        if self.negatives == "sibling" and depth < self.nodes.depth:
            sibling = self.nodes.sibling(node, depth)
            return torch.where(sibling == node, anything, sibling)
        return anything


def _other_than(node: Tensor, n_nodes: int) -> Tensor:
    """Draws uniformly among the nodes other than the given ones, same shape."""
    return (node + torch.randint(1, n_nodes, node.shape, device=node.device)) % n_nodes


class TestTimeTraining:
    """Fine-tunes a HILL model's backbone on pairs, reversibly.

    Args:
        model: The :class:`~recbole_hill.model.hill.HILL` model with its index set.
        pair_loss: What to add to the backbone's loss; None for the ``continue`` control.
        weight: Weight of the pair loss.
    """

    __test__ = False  # not a pytest class

    def __init__(self, model, pair_loss: PairLoss | None, weight: float):
        self.model, self.pair_loss, self.weight = model, pair_loss, weight
        self._before = {name: value.clone() for name, value in model.state_dict().items()}

    def loss(self, interaction) -> Tensor:
        """The loss of one step on a RecBole batch."""
        if self.pair_loss is None:
            return self.model.backbone_loss(interaction)
        loss, users, items = self.model.loss_and_vectors(interaction)
        weight = self.weight * self.model.batch_weight(interaction)
        return loss + weight * self.pair_loss(users, items)

    def reset(self) -> None:
        """Gives the model the weights it had when this object was made, bit for bit."""
        self.model.load_state_dict(self._before)
