"""SpectralMF: a filter of the train rows, cut to leading singular vectors, as inner products."""

from typing import ClassVar

import numpy as np

from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.fitted_tables import FittedTables
from recbole_hill.model.bases.spectral import Smoother, leading_settings, low_rank_factors


class SpectralMF(FittedTables):
    """Scores r D^-b V h(S) V^T D^b, where U S V^T are the leading parts of D_u^-1/2 R D_i^-1/2.

    The user's vector is r D^-b V. The item's vector is the item's row of D^b V h(S), with h(s) =
    s^p. p = 0 is the ideal low-pass filter of GF-CF and ChebyCF at full strength. p = 2 with b = 0
    is GF-CF's linear filter. GF-CF and ChebyCF add a sparse part and a low-rank part. This model is
    one inner product, so an index can search it; a larger rank takes the place of the sparse part.

    Settings: ``FittedTables``'s, ``embedding_size`` (the rank), ``response_power`` (p),
    ``degree_power`` (b), ``svd_iterations``.
    """

    #: The setting that counts singular vectors.
    rank_setting: ClassVar[str] = "embedding_size"

    def __init__(self, config, dataset):
        self.rank, self.iterations = leading_settings(config, "embedding_size", dataset)
        super().__init__(config, dataset)
        self.history = train_matrix(dataset)
        self.response_power, self.degree_power = config["response_power"], config["degree_power"]

    def fit(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Computes the singular vectors, and the filtered user and item vectors."""
        smooth = Smoother(self.history, "cpu")
        values, vectors = smooth.leading(self.rank, iterations=self.iterations, rng=rng)
        users, items = low_rank_factors(self.history, vectors, self.degree_power)
        return users.astype(np.float32), (items * values**self.response_power).astype(np.float32)
