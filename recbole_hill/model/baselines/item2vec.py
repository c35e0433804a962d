"""Item2Vec: skip-gram with negative sampling over each user's list of items.

Reference:
    Oren Barkan and Noam Koenigstein. "Item2Vec: Neural Item Embedding for Collaborative Filtering."
    in MLSP 2016.
"""

import numpy as np

from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.skip_gram import Sentences, SkipGramModel


class Item2Vec(SkipGramModel):
    """A user is the mean of their train items' input vectors; the paper's score is the cosine.

    The paper's window is the whole list. The published row's window is 20 items on either side, in
    the order of the interactions in the train file. Negatives are uniform, as in the published row.

    Settings: :class:`~recbole_hill.model.bases.skip_gram.SkipGramModel`'s.
    """

    shrink_windows = False

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.history = train_matrix(dataset)
        users, items = (dataset.inter_feat[field].numpy() for field in (self.USER_ID, self.ITEM_ID))
        by_user = np.argsort(users, kind="stable")
        starts = np.concatenate(([0], np.bincount(users, minlength=self.n_users).cumsum()))
        self.sentences = Sentences(items[by_user], starts)

    def fit(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Fits the items' vectors, and averages them for each user."""
        in_history, items = self.skip_gram(self.sentences, self.n_items)
        lengths = np.diff(self.history.indptr)[:, None]
        return (self.history @ in_history) / np.maximum(lengths, 1).astype(np.float32), items
