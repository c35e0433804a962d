"""DeepWalk: skip-gram over uniform random walks on the user-item graph.

Reference:
    Bryan Perozzi et al. "DeepWalk: Online Learning of Social Representations." in KDD 2014.
"""

import numpy as np

from recbole_hill.data.graph import InteractionGraph
from recbole_hill.data.walks import Walker
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.skip_gram import Sentences, SkipGramModel


class DeepWalk(SkipGramModel):
    """Walks are sentences and nodes are words of a skip-gram (Algorithms 1 and 2).

    The original uses hierarchical softmax.

    Settings: ``SkipGramModel``'s, ``n_walks``, ``walk_length``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_walks, self.walk_length = config["n_walks"], config["walk_length"]
        self.walker = Walker(InteractionGraph(train_matrix(dataset)), **self.bias(config))

    def bias(self, config) -> dict[str, float]:
        """Returns the parameters of second-order walks: none."""
        return {}

    def fit(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Makes the walks, and fits the vectors of the nodes."""
        walks = self.walker.walks(self.n_walks, self.walk_length, rng)
        starts = np.arange(len(walks) + 1) * self.walk_length
        n_nodes = self.n_users + self.n_items
        as_users, as_items = self.skip_gram(Sentences(walks.ravel(), starts), n_nodes)
        return as_users[: self.n_users], as_items[self.n_users :]
