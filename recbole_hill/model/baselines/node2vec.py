"""Node2Vec: skip-gram with negative sampling over second-order random walks.

Reference:
    Aditya Grover and Jure Leskovec. "node2vec: Scalable Feature Learning for Networks." in
    KDD 2016.
"""

from recbole_hill.model.baselines.deepwalk import DeepWalk


class Node2Vec(DeepWalk):
    """DeepWalk with return and in-out weights, 1/p and 1/q.

    On a bipartite graph only the ratio of p and q matters (see
    :class:`~recbole_hill.data.walks.Walker`). With the usual p = q = 1 the walk is DeepWalk's, and
    the only difference is the negative sampling.

    Settings: :class:`~recbole_hill.model.baselines.deepwalk.DeepWalk`'s, ``p``, ``q``.
    """

    def bias(self, config) -> dict[str, float]:
        """Returns p and q."""
        return {"p": config["p"], "q": config["q"]}
