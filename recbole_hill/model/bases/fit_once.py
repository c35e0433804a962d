"""Models that are computed from the train matrix once instead of trained by epochs."""

import numpy as np
import scipy.sparse as sp
import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType, ModelType
from torch import Tensor, nn


class FitOnceModel(GeneralRecommender):
    """A model with a closed form, a decomposition, or a training that a library runs.

    A subclass defines ``fit(matrix)``, which stores its results on ``self``, and ``scores(users)``.
    The run's one epoch is the call of ``fit``. Only the buffers that ``fit`` registers are written
    to disk, because computing an item-by-item matrix again is cheaper than storing it.
    """

    type = ModelType.TRADITIONAL
    input_type = InputType.POINTWISE

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.matrix = train_matrix(dataset)
        self.fitted = False
        # RecBole's trainer needs a parameter to optimise.
        self.unused = nn.Parameter(torch.zeros(1))

    def fit(self, matrix: sp.csr_matrix) -> None:
        """Computes the model.

        Args:
            matrix: Binary train matrix, shape (U, I), with RecBole's empty padding row and column.
        """
        raise NotImplementedError

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Returns the users' scores of every item.

        Args:
            users: User ids, shape (B,).

        Returns:
            Shape (B, I), float32.
        """
        raise NotImplementedError

    def fit_once(self) -> None:
        """Fits the model unless it is fitted; this is the trainer's one epoch."""
        if not self.fitted:
            self.fit(self.matrix)
            self.fitted = True

    def calculate_loss(self, interaction) -> Tensor:
        """Returns 0: RecBole asks for a loss, and there is none."""
        return self.unused.sum() * 0

    def load_state_dict(self, *args, **kwargs):
        """Loads the (empty) weights and fits the model again from the train matrix."""
        loaded = super().load_state_dict(*args, **kwargs)
        self.fit_once()
        return loaded

    def predict(self, interaction) -> Tensor:
        """Returns the scores of the batch's <user, item> pairs, shape (B,)."""
        users = interaction[self.USER_ID].cpu().numpy()
        unique, place = np.unique(users, return_inverse=True)
        scores = self._scores(unique)
        return scores[torch.from_numpy(place), interaction[self.ITEM_ID].cpu()].to(self.device)

    def full_sort_predict(self, interaction) -> Tensor:
        """Returns the scores of every item for the batch's users, flattened, shape (B * I,)."""
        users = interaction[self.USER_ID].cpu().numpy()
        return self._scores(users).to(self.device).reshape(-1)

    def _scores(self, users: np.ndarray) -> Tensor:
        self.fit_once()
        return torch.from_numpy(np.asarray(self.scores(users), dtype=np.float32))


def train_matrix(dataset) -> sp.csr_matrix:
    """Returns a RecBole dataset's interactions as a binary float32 matrix, shape (U, I)."""
    matrix = dataset.inter_matrix(form="csr").astype(np.float32)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
