"""Fusion: the scores of several finished runs, summed as one inner product."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recbole_hill.checks import is_number
from recbole_hill.data.splits import known_data, require_same_data
from recbole_hill.index.score_space import score_map
from recbole_hill.model.bases.fitted_tables import FittedTables
from recbole_hill.model.finished import FinishedRun


class Fusion(FittedTables):
    """Adds the scores of finished runs n as one inner product, so that HILL can index the sum.

    score(u, i) = sum_n w_n <u_n, i_n> / sd_n(u). sd_n(u) is the standard deviation of the user's
    scores of all items in run n. Dividing by it gives a weight the same meaning for every user and
    run. (The mean of the scores is not subtracted, because this would not change the user's order.)
    The user's vector is w_n u_n / sd_n(u) of all runs side by side, the item's vector i_n side by
    side.

    The sum helps if the models make different errors, such as a spectral filter and a graph model
    trained by softmax.

    Settings: ``FittedTables``'s, ``fuse_from`` (folders of finished runs on the same data),
    ``fuse_weights`` (w_n, one per run), ``embedding_size`` (D, the sum of the runs' dimensions).
    """

    def __init__(self, config, dataset):
        self.folders, self.weights = parts_of(config)
        super().__init__(config, dataset)
        self.run_dir = Path(config["run_dir"])

    def fit(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Reads the vectors of the runs, scales them and joins them.

        Raises:
            FileNotFoundError: If a run has not finished.
            ValueError: If a run saw other data or has no vectors, or D is not the sum of the runs'
                dimensions.
        """
        users, items = [], []
        for weight, (own_users, own_items) in zip(self.weights, self._vectors(), strict=True):
            scale = weight / deviations(own_users, own_items)
            users.append((own_users * scale[:, None]).astype(np.float32))
            items.append(own_items)
        width = sum(part.shape[1] for part in items)
        if width != self.item_embedding.embedding_dim:
            raise ValueError(
                f"embedding_size is {self.item_embedding.embedding_dim}, but the runs of fuse_from "
                f"have {' + '.join(str(part.shape[1]) for part in items)} = {width} dimensions"
            )
        return np.hstack(users), np.hstack(items)

    def _vectors(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for folder in self.folders:
            require_same_data(folder, known_data(self.run_dir))
            part = FinishedRun.load(folder)
            if part.vectors is None:
                raise ValueError(
                    f"fuse_from: {folder} is a run of {part.config['model']}, whose scores are "
                    "no inner product"
                )
            yield tuple(side.detach().cpu().numpy() for side in part.vectors)


def deviations(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Returns the standard deviation of each user's scores of the items, padding left out.

    It is computed from the covariance of the items, without computing scores.

    Args:
        users: Shape (U, D).
        items: Shape (I, D), padding row first.

    Returns:
        Shape (U,); 1 for a user whose scores are all the same.
    """
    items = items[1:]
    root = score_map(items, about=items.mean(0, dtype=np.float64))
    deviation = np.linalg.norm(users @ root, axis=1)
    return np.where(deviation > 0, deviation, 1)


def parts_of(config) -> tuple[list[Path], list[float]]:
    """Reads ``fuse_from`` and ``fuse_weights``.

    Raises:
        ValueError: Names the key, the value and what is accepted.
    """
    folders, weights = config["fuse_from"], config["fuse_weights"]
    if not isinstance(folders, list) or not folders:
        raise ValueError(f"fuse_from must be a list of folders of finished runs, got {folders!r}")
    numbers = isinstance(weights, list) and all(map(is_number, weights))
    if not numbers or len(weights) != len(folders):
        raise ValueError(
            f"fuse_weights must be a list of {len(folders)} numbers, one for each of fuse_from, "
            f"got {weights!r}"
        )
    return [Path(folder) for folder in folders], [float(weight) for weight in weights]
