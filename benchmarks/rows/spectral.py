"""Item vectors that are there without training: of the normalised train matrix."""

from functools import cache

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import svds

from rows import jobs
from rows.row import Setting


@cache
def item_vectors(setting: Setting, dim: int = 64) -> np.ndarray:
    """Returns the items' right singular vectors times the values, (I, D), padding left out."""
    dataset = jobs.recboles_lightgcn(setting).data.train._dataset
    matrix = dataset.inter_matrix(form="csr").astype(np.float32)[1:, 1:]
    scales = [1 / np.sqrt(np.maximum(matrix.sum(axis).A1, 1)) for axis in (1, 0)]
    normalised = sp.diags(scales[0]) @ matrix @ sp.diags(scales[1])
    start = np.random.default_rng(0).normal(size=min(normalised.shape)).astype(np.float32)
    _, values, right = svds(normalised.astype(np.float32), k=dim, v0=start, tol=1e-2)
    return np.ascontiguousarray((right * values[:, None]).T, dtype=np.float32)
