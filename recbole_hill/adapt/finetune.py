"""Test-time training by a side loss: the backbone's loss plus a loss on <user, node> pairs.

A pair is a user and an index node that the user is interested in.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hill.adapt.draws import PairDraws
from recbole_hill.adapt.pair_rows import PairRows
from recbole_hill.adapt.pairs import Pairs

#: Number of candidates; the ``hard`` negative is the candidate with the best score.
_HARD_CANDIDATES = 32


class PairLoss:
    """Draws a share of the pairs at every step, and compares each pair's node with negative nodes.

    An epoch visits each pair once on average. The negative of a pair <u, n> is another node of the
    same depth. ``random`` draws any node. ``sibling`` draws another child of n's parent (any node
    at the coarsest depth, or if n has no siblings). ``hard`` takes the best scored of several
    random nodes. ``all`` compares n with all nodes: the loss is the softmax cross-entropy over the
    depth. If the pairs are also weighted by interest rate, the user's interest rates are the soft
    target. The interest rate is the share of a node that the user is interested in.

    Args:
        pairs: The <user, node> pairs (RecBole's user ids, and node ids per depth).
        nodes: The index's :class:`~recbole_hill.index.node_vectors.NodeVectors`.
        steps: Number of training steps in an epoch.
        negatives: ``random`` | ``sibling`` | ``hard`` | ``all``.
        node_vectors: ``members`` | ``frozen`` | ``representative``: see
            :meth:`~recbole_hill.index.node_vectors.NodeVectors.chosen`.
        by_rate: Whether the weight of a pair is proportional to its interest rate, with mean 1 at
            each depth.
        ranking_loss: The backbone's loss on scores, with which nodes take the place of items; BPR
            on inner products if None.
        n_negatives: Number of random nodes that ``ranking_loss`` compares with each pair's node.
    """

    def __init__(
        self,
        pairs: Pairs,
        nodes,
        steps: int,
        *,
        negatives: str,
        node_vectors: str,
        by_rate: bool = False,
        ranking_loss: Callable | None = None,
        n_negatives: int = 1,
    ):
        self.nodes, self.negatives, self.node_vectors = nodes, negatives, node_vectors
        self.ranking_loss, self.n_negatives = ranking_loss, n_negatives
        self.draws = PairDraws(pairs, steps, by_rate=by_rate)

    def beside(self, model, interaction) -> tuple[Tensor, Tensor]:
        """Returns the backbone's loss on a RecBole batch, and the loss of this step's pairs."""
        loss, users, items = model.loss_and_vectors(interaction)
        return loss, self(users, items)

    def __call__(self, users: Tensor, items: Tensor) -> Tensor:
        """Returns the mean loss of this step's pairs.

        Args:
            users: User vectors with the padding row, shape (U + 1, D).
            items: Item vectors with the padding row, shape (I + 1, D).
        """
        losses = []
        for depth, ids, node, weights in self.draws.draw(users.device):
            user = users[ids]
            if self.ranking_loss is not None:
                loss = self._backbones_loss(depth, users, ids, node, items).expand(len(ids))
            elif self.negatives == "all":
                loss = F.cross_entropy(user @ self._all(depth, items).T, node, reduction="none")
            else:
                negative = self._negatives(depth, user, node, items)
                vectors = self._some(torch.cat((node, negative)), depth, items)
                positive, other = (user * vectors.view(2, *user.shape)).sum(2)
                loss = F.softplus(other - positive)
            losses.append(weights * loss)
        return torch.cat(losses).mean() if losses else users.new_zeros(())

    def _backbones_loss(
        self, depth: int, users: Tensor, user: Tensor, node: Tensor, items: Tensor
    ) -> Tensor:
        """The backbone's mean loss on a draw of pairs at one depth, with random negative nodes."""
        each = node.unsqueeze(1).expand(-1, self.n_negatives)
        n_nodes = self.nodes.count(depth)
        negative = _other_than(each, n_nodes) if n_nodes > 1 else each
        used, places = torch.unique(
            torch.cat((node.unsqueeze(1), negative), 1), return_inverse=True
        )
        vectors = self._some(used, depth, items)
        return self.ranking_loss(users, vectors, user, places[:, 0], places[:, 1:])

    def _all(self, depth: int, items: Tensor) -> Tensor:
        return self.nodes.all(self.node_vectors, depth, items)

    def _some(self, nodes: Tensor, depth: int, items: Tensor) -> Tensor:
        return self.nodes.chosen(self.node_vectors, nodes, depth, items.__getitem__)

    @torch.no_grad()
    def _negatives(self, depth: int, user: Tensor, node: Tensor, items: Tensor) -> Tensor:
        n_nodes = self.nodes.count(depth)
        if n_nodes == 1:
            return node  # there is no other node: the loss is a constant
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
    """Draws uniformly among the nodes other than the given ones, in the same shape."""
    return (node + torch.randint(1, n_nodes, node.shape, device=node.device)) % n_nodes


class TestTimeTraining:
    """Fine-tunes the backbone of a HILL model on pairs; the old weights can be restored.

    Args:
        model: The :class:`~recbole_hill.model.hill.HILL` model, with its index.
        pair_loss: Loss to add to the backbone's loss, a :class:`PairLoss` or
            :class:`~recbole_hill.adapt.pair_rows.PairRows`; None for the control ``continue``,
            which trains for the same number of steps without pairs.
        weight: Weight of the pair loss.
        by_interaction: Whether a pair weighs as much as an interaction of the batch; if not, the
            means of both losses are added.
    """

    __test__ = False  # not a pytest class

    def __init__(
        self,
        model,
        pair_loss: PairLoss | PairRows | None,
        weight: float,
        *,
        by_interaction: bool = False,
    ):
        self.model, self.pair_loss, self.weight = model, pair_loss, weight
        self.by_interaction = by_interaction
        self._before = {name: value.clone() for name, value in model.state_dict().items()}

    def loss(self, interaction) -> Tensor:
        """Returns the loss of one step on a RecBole batch."""
        if self.pair_loss is None:
            return self.model.backbone_loss(interaction)
        loss, of_pairs = self.pair_loss.beside(self.model, interaction)
        weight = self.weight * self.model.batch_weight(interaction)
        if self.by_interaction:
            weight *= self.pair_loss.draws.pairs_a_step / len(interaction)
        return loss + weight * of_pairs

    def reset(self) -> None:
        """Restores the weights that the model had when this object was created, bit for bit."""
        self.model.load_state_dict(self._before)
