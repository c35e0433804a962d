"""Random walks over the user-item graph; all walkers move together, one step at a time."""

import numpy as np

from recbole_hill.checks import integer
from recbole_hill.data.graph import InteractionGraph


class Walker:
    """Walks along the edges of a bipartite graph, with node2vec's return and in-out parameters.

    A walk at node v that came from node t goes back to t with weight 1/p, and to each other
    neighbour of v with weight 1/q. (node2vec has a third weight, 1, for neighbours of v that are
    also neighbours of t. It never applies here: users have no edges to users, nor items to items.)
    So the probability of a return is (1/p) / (1/p + (d_v - 1)/q), and the other d_v - 1 neighbours
    are equally likely. This is exact and needs no alias tables. With p = q it is DeepWalk's uniform
    walk.

    Args:
        graph: The train graph; its nodes are numbered users first, then items.
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
        """Starts walks at every node that has an edge, in a random order in each round.

        Args:
            n_walks: Walks per node.
            length: Nodes per walk, at least 2.
            rng: Source of all randomness.

        Returns:
            Node ids, shape (walks, length), int32.

        Raises:
            ValueError: If ``n_walks`` or ``length`` is too small; the message names it.
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
        """Draws for each edge the edge that follows it, shape (walks,)."""
        nodes, back = self.ends[edges], self.reverse[edges]
        others = self.degree[nodes] - 1
        returns = rng.random(len(edges)) * (1 / self.p + others / self.q) < 1 / self.p
        other = self.starts[nodes] + rng.integers(np.maximum(others, 1))
        other += other >= back  # the edge back is left out
        return np.where(returns | (others == 0), back, other)
