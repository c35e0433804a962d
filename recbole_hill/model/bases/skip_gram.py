"""Skip-gram embeddings (word2vec) of users and items, fitted once by gensim."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from recbole_hill.host.optional import require
from recbole_hill.model.bases.fitted_tables import FittedTables
from recbole_hill.model.losses import unit

#: gensim cuts longer sentences without a message.
_LONGEST_SENTENCE = 10_000
_SECONDS_BETWEEN_REPORTS = 30


class SkipGramModel(FittedTables):
    """Tables that one fit of a skip-gram fills; a subclass defines the sentences.

    gensim gives the same result twice only with one worker. The result does not depend on
    ``PYTHONHASHSEED``.

    Settings: :class:`~recbole_hill.model.bases.fitted_tables.FittedTables`'s, ``window``,
    ``skip_gram_negatives`` (0: hierarchical softmax), ``negative_power`` (exponent of a token's
    count in drawing negatives), ``skip_gram_passes``, ``skip_gram_learning_rate``, ``workers``,
    ``score``. The score is the user's input vector with the item's input vector, as ``dot`` or
    ``cosine``; or ``context``, the user's input vector dot the item's output vector.

    The skip-gram itself models ``context``: how likely the item is near the user. Two input vectors
    are alike if they have the same contexts. But the nearest contexts of a user and of an item are
    on opposite sides of the graph.
    """

    #: Whether the context's width is drawn from 1..window, as in word2vec, instead of fixed.
    shrink_windows = True

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.score = config["score"]
        negatives = config["skip_gram_negatives"]
        if self.score == "context" and not negatives:
            raise ValueError(
                "score: context needs skip_gram_negatives >= 1, got 0: the hierarchical softmax "
                "has no output vectors of items"
            )
        self.word2vec = {
            "vector_size": config["embedding_size"],
            "window": config["window"],
            "hs": int(negatives == 0),
            "negative": negatives,
            "ns_exponent": config["negative_power"],
            "alpha": config["skip_gram_learning_rate"],
            "workers": config["workers"],
        }
        self.passes = config["skip_gram_passes"]

    def skip_gram(self, sentences: "Sentences", n_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """Fits word2vec's skip-gram.

        Args:
            sentences: Token ids.
            n_tokens: Number of possible tokens.

        Returns:
            The tokens' vectors as users and as items, each (n_tokens, D), float32. Both are the
            input vectors; with ``score: context`` the second are the output vectors. Tokens that
            never occur have zeros.
        """
        gensim = require("gensim.models", "gensim", type(self).__name__)
        model = gensim.Word2Vec(
            sg=1,
            min_count=1,
            sample=0,
            seed=self.seed,
            shrink_windows=self.shrink_windows,
            **self.word2vec,
        )
        model.build_vocab_from_freq(sentences.counts())
        model.train(
            sentences,
            total_words=len(sentences.ids),
            epochs=self.passes,
            report_delay=_SECONDS_BETWEEN_REPORTS,
        )
        sides = model.wv.vectors, model.syn1neg if self.score == "context" else model.wv.vectors
        vectors = np.zeros((2, n_tokens, model.vector_size), dtype=np.float32)
        vectors[:, np.array(model.wv.index_to_key, dtype=np.int64)] = sides
        return vectors[0], vectors[1]

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the two tables; with ``score: cosine`` their rows have length 1."""
        users, items = super().user_item_embeddings()
        return (unit(users), unit(items)) if self.score == "cosine" else (users, items)


class Sentences:
    """Sentences for gensim, which reads them several times: lists of strings.

    Each token's string is made once. A sentence is then a list of references to these strings.

    Args:
        ids: The tokens of all sentences, one after another, shape (T,).
        starts: Start of each sentence, and the end of the last, shape (S + 1,).
    """

    def __init__(self, ids: np.ndarray, starts: np.ndarray):
        self.ids, self.starts = ids, starts
        self.tokens = np.arange(ids.max(initial=0) + 1).astype(str).astype(object)

    def counts(self) -> dict[str, int]:
        """Returns the count of each token that occurs."""
        counts = np.bincount(self.ids)
        present = np.flatnonzero(counts)
        return dict(zip(self.tokens[present], counts[present].tolist(), strict=True))

    def __iter__(self) -> Iterator[list[str]]:
        for start, end in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            for part in range(start, end, _LONGEST_SENTENCE):
                yield self.tokens[self.ids[part : min(part + _LONGEST_SENTENCE, end)]].tolist()
