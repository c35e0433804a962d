"""Learning to index by gradient (LTI): attention layers over items, stacked to L depths.

Depth 1 is the nodes just above the items, depth L the coarsest nodes. A pseudo item is the mixture
of nodes that attention makes for an item.

References:
    "Efficient Retrieval Scaling with Hierarchical Indexing for Large Scale Recommendation." arXiv
    2604.12965, 2026, sections 3.2 to 3.4; HSNN, arXiv 2408.06653, section 3.2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from recbole_hill.checks import one_of, require_finite
from recbole_hill.index.attention import NodeAttention, nearest_nodes
from recbole_hill.index.codes import NodeUsage, tree_of_codes, tree_of_nodes
from recbole_hill.index.em import check_sizes, cluster
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.schedules import Balance, Schedule

#: Ways to make the first nodes.
STARTS = ("kmeans", "random")
#: Number of k-means iterations that make the first nodes.
_START_ITERATIONS = 5
#: Size of a revived node's offset from its item, relative to the vectors' root mean square.
_REVIVAL_NOISE = 0.01
#: A residual below this share of the items' mean square is treated as zero.
_ROUNDING = 1e-6


class PseudoItems(NamedTuple):
    """Output of a :class:`LearnedIndex` for a batch of items.

    Attributes:
        at_depth: Pseudo items at depths 1..L, each (B, D).
        reconstruction: Mean squared distance between items and pseudo items, relative to the items'
            mean square, averaged over the depths.
        balance: FLOPs regulariser, averaged over the depths; 1 if all nodes carry the same share.
    """

    at_depth: tuple[Tensor, ...]
    reconstruction: Tensor
    balance: Tensor


class LearnedIndex(nn.Module):
    """L attention layers whose keys and values are the nodes of the index.

    ``top_down`` passes residuals, coarse to fine. Layer n sees the residual r_n = v - q_{n-1} and
    adds its pseudo item to q_n, the pseudo item of that depth (RQ codes; every prefix is
    reconstructed, as in Lee et al., CVPR 2022). ``bottom_up`` is a tree of K_1, K_2, ... nodes, as
    Tables 6 and 7 list them: the pseudo items of a layer are the queries of the next one. HILL's
    prose would pass residuals upward. But the residuals of a node's members average to zero, so
    that noise would decide the node's parent.

    Distances are relative to the mean square of the vectors that a layer sees. So ``alpha`` and the
    losses mean the same at every scale of the embeddings.

    Args:
        nodes_per_depth: K_1, ..., K_L.
        dim: D.
        direction: ``bottom_up`` | ``top_down``.
        schedule: Schedule of the temperature and of the loss weight; see :meth:`weight`.
        balance_batches: Number of batches whose assignments the balance term pools.
        first_nodes: ``kmeans`` | ``random``, how :meth:`start` makes the first nodes.
        revives: Whether :meth:`partial_fit` moves unused nodes to items after each epoch.
        precision: ``torch.float32`` | ``torch.bfloat16``, dtype of the large matrix products.

    Raises:
        ValueError: If the sizes, the direction or the way to make the first nodes do not fit.
    """

    def __init__(
        self,
        nodes_per_depth: Sequence[int],
        dim: int,
        *,
        direction: str = "top_down",
        schedule: Schedule,
        balance_batches: int = 8,
        first_nodes: str = "kmeans",
        revives: bool = True,
        precision: torch.dtype = torch.float32,
    ):
        super().__init__()
        self.sizes = check_sizes(nodes_per_depth, direction)
        self.first_nodes, self.revives = one_of("index_start", first_nodes, STARTS), revives
        self.direction, self.schedule, self.precision = direction, schedule, precision
        # A separate generator: the backbone's random numbers are the same with and without an
        # index.
        generator = torch.Generator().manual_seed(0)
        self.nodes = nn.ParameterList(
            torch.randn(size, dim, generator=generator) * 0.1 for size in self.sizes
        )
        self.balance = nn.ModuleList(Balance(size, balance_batches) for size in self.sizes)
        #: Number of training steps so far; saved with the weights, so that a resumed run continues
        #: the schedule.
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    @property
    def depth(self) -> int:
        """L."""
        return len(self.sizes)

    def weight(self) -> float:
        """Returns the share of the index loss's weight at the current step of the warm-up."""
        return self.schedule.weight_at(int(self.step))

    # -- nodes from data ------------------------------------------------------------------------

    def start(self, vectors: Tensor, *, seed: int) -> None:
        """Sets the nodes from data, and sets the schedules to their beginning.

        ``kmeans`` sets them by a short k-means over the vectors. ``random`` draws their entries
        from a normal distribution whose standard deviation is the root mean square of the vectors'
        entries, the same in every layer of a ``bottom_up`` index. In ``top_down`` the nodes of a
        layer stand for residuals: their standard deviation is the root mean square of the residuals
        that the nearest nodes of the layers above leave. Few random nodes are near no item, so that
        they leave more than they saw: 1.25 times for 10 nodes and vectors of 64 normal entries.

        Args:
            vectors: Item vectors, shape (I, D).
            seed: Seed of k-means or of the draws.

        Raises:
            ValueError: If there are fewer items than nodes, or a vector is not finite.
        """
        vectors = _usable(vectors)
        check_sizes(self.sizes, self.direction, len(vectors))
        if self.first_nodes == "random":
            self._draw(vectors, seed)
        else:
            self._cluster(vectors, seed)
        for balance in self.balance:
            balance.forget()
        self.step.zero_()
        self.started.fill_(True)

    def _cluster(self, vectors: Tensor, seed: int) -> None:
        """Sets each layer's nodes by k-means over the vectors that the layer sees."""
        points = vectors.cpu().numpy()
        for layer in self._layers():
            size = self.sizes[layer]
            centres, code = cluster(points, size, seed=seed, iterations=_START_ITERATIONS)
            self.nodes[layer].data.copy_(torch.from_numpy(centres))
            points = points - centres[code] if self.direction == "top_down" else centres

    def _draw(self, vectors: Tensor, seed: int) -> None:
        """Draws each layer's nodes at the scale of the vectors, or of the residuals (top_down)."""
        # Not by PyTorch's generator: with the run's seed it would draw, once more, the numbers from
        # which the backbone started.
        rng = np.random.default_rng(seed)
        seen = vectors
        for layer in self._layers():
            nodes = self.nodes[layer].data
            drawn = torch.from_numpy(rng.standard_normal(nodes.shape, dtype=np.float32))
            nodes.copy_(drawn * seen.square().mean().sqrt().cpu())
            if self.direction == "top_down":
                seen = seen - nodes[nearest_nodes(seen, nodes)]

    @torch.no_grad()
    def revive(self, vectors: Tensor, generator: torch.Generator | None = None) -> int:
        """Moves each node without an item to an item that is far from its own node.

        Items are drawn with probability proportional to their squared distance from their node, as
        in k-means++.

        Args:
            vectors: Item vectors, shape (I, D).
            generator: Generator of the draws; PyTorch's default generator if None.

        Returns:
            Number of nodes that were moved.
        """
        total = 0
        for layer, seen, code in self._walk(vectors):
            nodes = self.nodes[layer].data
            dead = torch.bincount(code, minlength=len(nodes)) == 0
            distance = (seen - nodes[code]).square().sum(1)
            n_dead = min(int(dead.sum()), int((distance > 0).sum()))
            if n_dead:
                rows = torch.multinomial(distance, n_dead, generator=generator)
                noise = seen.new_empty(n_dead, seen.shape[1]).normal_(generator=generator)
                noise *= _REVIVAL_NOISE * seen.square().mean().sqrt()
                nodes[torch.nonzero(dead).squeeze(1)[:n_dead]] = seen[rows] + noise
                total += n_dead
        return total

    # -- learning -------------------------------------------------------------------------------

    def forward(self, vectors: Tensor) -> PseudoItems:
        """Returns the pseudo items of a batch and their losses; in training, counts a step.

        Args:
            vectors: Item vectors, shape (B, D); gradients reach them.
        """
        alpha = self.schedule.alpha_at(int(self.step))
        square = _mean_square(vectors)
        at_depth: list[Tensor] = [vectors] * self.depth
        balance, seen, total = vectors.new_zeros(()), vectors, 0
        for layer in self._layers():
            # Residuals of identical items are rounding errors, too small to measure distances by.
            relative = alpha / float(torch.maximum(_mean_square(seen), _ROUNDING * square))
            pseudo, mean = NodeAttention.apply(seen, self.nodes[layer], relative, self.precision)
            balance = balance + self.balance[layer](mean, len(vectors))
            if self.direction == "top_down":
                total = total + pseudo
                at_depth[layer], seen = total, vectors - total
            else:
                at_depth[layer] = seen = pseudo
        if self.training:
            self.step += 1
        reconstruction = sum((q - vectors).square().sum(1).mean() for q in at_depth) / square
        return PseudoItems(tuple(at_depth), reconstruction / self.depth, balance / self.depth)

    def fit(
        self,
        vectors: Tensor,
        *,
        epochs: int,
        batch_size: int = 2048,
        learning_rate: float = 0.01,
        balance_weight: float = 0.01,
        seed: int = 0,
        progress: bool = False,
    ) -> "LearnedIndex":
        """Learns an index of given item vectors alone, by reconstruction and balance.

        The nodes start from the data. The schedule ends with the last step.

        Args:
            vectors: Item vectors, shape (I, D).
            epochs: Number of passes over the items.
            batch_size: Number of items per step.
            learning_rate: Learning rate of Adam, relative to the vectors' root mean square.
            balance_weight: Weight of the FLOPs regulariser.
            seed: Seed of the first nodes and of the order of items.
            progress: Whether to show a bar.

        Returns:
            The learned index itself, in evaluation mode.
        """
        steps = epochs * -(-len(vectors) // batch_size)
        self.schedule = replace(self.schedule, steps=steps)
        self.start(vectors, seed=seed)
        return self.partial_fit(
            vectors,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            balance_weight=balance_weight,
            seed=seed,
            progress=progress,
        )

    def partial_fit(
        self,
        vectors: Tensor,
        *,
        epochs: int = 1,
        batch_size: int = 2048,
        learning_rate: float = 0.01,
        balance_weight: float = 0.01,
        seed: int = 0,
        progress: bool = False,
    ) -> "LearnedIndex":
        """Continues learning from the current nodes and schedule, on other items or more items.

        Args: see :meth:`fit`.
        """
        vectors = _usable(vectors)
        generator = torch.Generator().manual_seed(seed)
        rate = learning_rate * float(vectors.square().mean().sqrt())
        optimizer = torch.optim.Adam(self.nodes.parameters(), lr=rate)
        self.train()
        for _ in tqdm(
            range(epochs), desc="learning the index", disable=not progress or None, leave=False
        ):
            for rows in torch.randperm(len(vectors), generator=generator).split(batch_size):
                weight = self.weight()
                _, reconstruction, balance = self(vectors[rows])
                loss = weight * (reconstruction + balance_weight * balance)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if self.revives:
                self.revive(vectors, generator)
        return self.eval()

    # -- publishing -----------------------------------------------------------------------------

    @torch.no_grad()
    def codes(self, vectors: Tensor) -> np.ndarray:
        """Returns the hard assignment of items at depths 1..L, shape (L, N).

        In a ``bottom_up`` index, an item's node at depth d + 1 is the parent of its node at depth
        d.

        Args:
            vectors: Item vectors, shape (N, D).
        """
        assigned = np.empty((self.depth, len(vectors)), dtype=np.int64)
        above = None
        for layer, _, code in self._walk(vectors):
            if self.direction == "bottom_up" and above is not None:
                code = code[above]
            assigned[layer], above = code.cpu().numpy(), code
        return assigned

    def usage_of(self, vectors: Tensor) -> list[NodeUsage]:
        """Returns how evenly the nodes at depths 1..L are used.

        Args:
            vectors: Item vectors, shape (N, D).
        """
        return [NodeUsage.of(*pair) for pair in zip(self.codes(vectors), self.sizes, strict=True)]

    def publish(self, items: Sequence[str], vectors: Tensor) -> HierarchicalIndex:
        """Returns the index, with every item under its nodes; nodes without items are left out.

        Args:
            items: External item ids, (I,).
            vectors: Item vectors, shape (I, D).

        Raises:
            ValueError: If a vector is not finite.
        """
        vectors = _usable(vectors)
        points, codes = vectors.cpu().numpy(), self.codes(vectors)
        books = [nodes.detach().cpu().numpy() for nodes in self.nodes]
        if self.direction == "top_down":
            return tree_of_codes(items, codes[::-1], books[::-1], points)
        return tree_of_nodes(items, codes, books, points)

    # -- layers ---------------------------------------------------------------------------------

    def _layers(self) -> list[int]:
        """Returns the layers in the order in which they learn; layer n belongs to depth n + 1."""
        order = range(self.depth)
        return list(order if self.direction == "bottom_up" else reversed(order))

    def _walk(self, vectors: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yields each layer, the vectors that it sees, (N, D), and the nodes it assigns, (N,)."""
        seen = vectors.detach().float()
        for layer in self._layers():
            nodes = self.nodes[layer].data
            code = nearest_nodes(seen, nodes)
            yield layer, seen, code
            nodes = self.nodes[layer].data  # the caller may have changed them
            seen = seen - nodes[code] if self.direction == "top_down" else nodes


def _usable(vectors: Tensor) -> Tensor:
    """Returns item vectors as float32 without a gradient; refuses NaN and infinity."""
    require_finite("item vectors", vectors)
    return vectors.detach().float()


def _mean_square(vectors: Tensor) -> Tensor:
    """Returns the mean of |v|^2, detached; at least 1e-12, so that it can divide."""
    return vectors.detach().square().sum(1).mean().clamp_min(1e-12)
