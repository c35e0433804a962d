"""Item vectors that are there without training: of the normalised train matrix."""

from functools import cache

import numpy as np
from scipy.sparse.linalg import svds

from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.spectral import Smoother
from rows import jobs
from rows.row import Setting


@cache
def item_vectors(setting: Setting, dim: int = 64) -> np.ndarray:
    """Returns the items' right singular vectors times the values, (I, D), padding left out."""
    dataset = jobs.recboles_lightgcn(setting).data.train._dataset
    normalised = Smoother(train_matrix(dataset), "cpu").normalized[1:, 1:]
    start = np.random.default_rng(0).normal(size=min(normalised.shape)).astype(np.float32)
    _, values, right = svds(normalised, k=dim, v0=start, tol=1e-2)
    return np.ascontiguousarray((right * values[:, None]).T, dtype=np.float32)
