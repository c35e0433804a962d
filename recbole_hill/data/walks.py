"""Random walks over the user-item graph, all walkers one step at a time."""

import numpy as np

from recbole_hill.checks import integer
from recbole_hill.data.graph import InteractionGraph


class Walker:
    """Walks along the edges of a bipartite graph, with node2vec's return and in-out weights.

    From node v, reached from t, a walk goes back to t with weight 1/p and to each other neighbour
    of v with weight 1/q (node2vec's weight 1, for neighbours that t also has, never applies: users
    are not linked to users, nor items to items). So it returns with probability
    (1/p) / (1/p + (d_v - 1)/q) and is uniform over the d_v - 1 others: exact without alias tables.
    With p = q that is DeepWalk's uniform walk.

    Args:
        graph: The train graph; its nodes number users first, then items.
        p: Return parameter.
        q: In-out parameter.

    Raises:
        ValueError: If p or q is not positive.
    """

    def __init__(self, graph: InteractionGraph, p: float = 1.0, q: float = 1.0):
        for name, value in {"p": p, "q": q}.items():
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value!r}")
        self.p, self.q = p, q
        self.starts = graph.crow.cpu().numpy()
        self.ends = graph.col.cpu().numpy()
        self.degree = np.diff(self.starts)
        self.reverse = graph.reverse().cpu().numpy()

    def walks(self, n_walks: int, length: int, rng: np.random.Generator) -> np.ndarray:
        """Starts walks from every node that has an edge, in random order per round.

        Args:
            n_walks: Walks per node.
            length: Nodes per walk, at least 2.
            rng: Source of all randomness.

        Returns:
            Node ids, shape (walks, length), int32.

        Raises:
            ValueError: If a number is too small, naming it.
        """
        for name, value, least in (("n_walks", n_walks, 1), ("walk_length", length, 2)):
            integer(name, value, least)
        nodes = np.flatnonzero(self.degree)
        walks = np.empty((n_walks, len(nodes), length), dtype=np.int32)
        for round_ in walks:
            round_[:, 0] = rng.permutation(nodes)
            edges = self._any_edge(round_[:, 0], rng)
            for place in range(1, length):
                round_[:, place] = self.ends[edges]
                edges = self._next_edge(edges, rng)
        return walks.reshape(-1, length)

    def _any_edge(self, nodes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return self.starts[nodes] + rng.integers(self.degree[nodes])

    def _next_edge(self, edges: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draws the edge that follows each edge, shape (walks,)."""
        nodes, back = self.ends[edges], self.reverse[edges]
        others = self.degree[nodes] - 1
        returns = rng.random(len(edges)) * (1 / self.p + others / self.q) < 1 / self.p
        other = self.starts[nodes] + rng.integers(np.maximum(others, 1))
        other += other >= back  # the edge back is left out
        return np.where(returns | (others == 0), back, other)
