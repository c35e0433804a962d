"""SpectralMF: a filter of the train rows, cut to leading singular vectors, as inner products."""

import numpy as np
from sklearn.utils.extmath import randomized_svd

from recbole_hill.model.fit_once import train_matrix
from recbole_hill.model.fitted_tables import FittedTables
from recbole_hill.model.spectral import Smoother, power


class SpectralMF(FittedTables):
    """Scores r D^-b V h(S) V^T D^b, where U S V^T are the leading parts of D_u^-1/2 R D_i^-1/2.

    The user's vector is r D^-b V, the item's its row of D^b V h(S), with h(s) = s^p: p = 0 is the
    ideal low-pass filter of GF-CF and ChebyCF at full strength, p = 2 the linear filter of GF-CF.
    What those sum up from a sparse and a low-rank part is one inner product here, so that an index
    can be searched; the rank takes the place of the sparse part.

    The singular vectors are found by subspace iteration (Halko et al., SIAM Review 2011).

    Settings: :class:`~recbole_hill.model.fitted_tables.FittedTables`'s, ``embedding_size`` (the
    rank), ``response_power`` (p), ``degree_power`` (b), ``svd_iterations``.
    """

    def __init__(self, config, dataset):
        self._rank_below(config["embedding_size"], min(dataset.user_num, dataset.item_num) - 1)
        super().__init__(config, dataset)
        self.history = train_matrix(dataset)
        self.rank = config["embedding_size"]
        self.response_power, self.degree_power = config["response_power"], config["degree_power"]
        self.iterations = config["svd_iterations"]
        if not isinstance(self.iterations, int) or self.iterations < 0:
            raise ValueError(f"svd_iterations must be an integer >= 0, got {self.iterations!r}")

    @staticmethod
    def _rank_below(rank: int, least: int) -> None:
        if not isinstance(rank, int) or not 0 < rank < least:
            raise ValueError(f"embedding_size must be between 1 and {least - 1}, got {rank!r}")

    def fit(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Finds the singular vectors, and filters."""
        smooth = Smoother(self.history, "cpu")
        _, values, vectors = randomized_svd(
            smooth.normalized,
            self.rank,
            n_oversamples=64,
            n_iter=self.iterations,
            power_iteration_normalizer="QR",
            random_state=int(rng.integers(2**31)),
        )
        before, after = (power(smooth.item_degree, sign * self.degree_power) for sign in (-1, 1))
        users = self.history @ (before[:, None] * vectors.T)
        items = after[:, None] * vectors.T * values**self.response_power
        return users.astype(np.float32), items.astype(np.float32)
