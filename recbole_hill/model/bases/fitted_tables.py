"""User and item tables that one fit computes, and that can be fine-tuned like other tables."""

import numpy as np
import torch

from recbole_hill.model.bases.factorization import MatrixFactorization


class FittedTables(MatrixFactorization):
    """Tables that one fit fills; a subclass defines the fit.

    The run's one epoch is the fit. The result is stored in the two tables, so loading a run needs
    no second fit. HILL fine-tunes such a backbone with BPR.

    Settings: ``MatrixFactorization``'s (for fine-tuning only).
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.seed = config["seed"]
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def fit(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Returns user vectors (U, D) and item vectors (I, D); 0 for ids without train data."""
        raise NotImplementedError

    @torch.no_grad()
    def fit_once(self) -> None:
        """Fits the tables unless they are fitted; this is the trainer's one epoch."""
        if self.fitted:
            return
        users, items = self.fit(np.random.default_rng(self.seed))
        self.user_embedding.weight.copy_(torch.from_numpy(users))
        self.item_embedding.weight.copy_(torch.from_numpy(items))
        self.fitted.fill_(True)
