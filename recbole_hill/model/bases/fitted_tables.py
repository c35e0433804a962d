"""User and item tables that are computed in one go, and may be fine-tuned as any others."""

import numpy as np
import torch

from recbole_hill.model.bases.factorization import MatrixFactorization


class FittedTables(MatrixFactorization):
    """Tables that one fit fills; a subclass says how.

    The run's one epoch is the fit. What it found stands in the two tables, so that a run is loaded
    without fitting again, and a backbone fitted like this is fine-tuned by HILL with BPR.

    Settings: ``MatrixFactorization``'s (for fine-tuning
    only).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.seed = config["seed"]
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def fit(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Returns user vectors (U, D) and item vectors (I, D), zero where train says nothing."""
        raise NotImplementedError

    @torch.no_grad()
    def fit_once(self) -> None:
        """Fits unless that is done; the trainer's one epoch."""
        if self.fitted:
            return
        users, items = self.fit(np.random.default_rng(self.seed))
        self.user_embedding.weight.copy_(torch.from_numpy(users))
        self.item_embedding.weight.copy_(torch.from_numpy(items))
        self.fitted.fill_(True)
