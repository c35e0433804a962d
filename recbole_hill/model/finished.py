"""A finished run's model, with the weights that the run serves and the data of its training."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_hill.checks import require_finite
from recbole_hill.config.config import HillConfig, without_retired
from recbole_hill.data.ids import Ids
from recbole_hill.data.splits import Data, load_data, require_same_data
from recbole_hill.host.memory import keep_freed_memory
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.model.backbone import has_embeddings, user_item_embeddings
from recbole_hill.model.build import build_model
from recbole_hill.run.checkpoint import load_weights, set_model_weights
from recbole_hill.run.folder import CONFIG, INDEX, STAGES, read_config, served_weights
from recbole_hill.run.hashes import require_unchanged, warn_if_changed


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, loaded.

    Attributes:
        config: The run's configuration.
        data: The run's data.
        model: The model with the weights that the run serves, in evaluation mode.
    """

    config: HillConfig
    data: Data
    model: torch.nn.Module

    @classmethod
    def load(cls, folder: str | Path) -> "FinishedRun":
        """Loads a run's folder.

        Raises:
            FileNotFoundError: If the folder is not a run's folder, or the run has not finished.
            ValueError: If the data, the weights or the index are not those of the run, or were
                changed after it.
        """
        keep_freed_memory()  # saves a third of a request's time if a network scores every item
        folder = Path(folder)
        weights, settings = served_weights(folder), without_retired(read_config(folder))
        require_unchanged(folder, weights.name, INDEX, STAGES)
        warn_if_changed(folder, CONFIG)
        config = HillConfig(None, None, None, {**settings, "run_dir": str(folder)})
        data = load_data(config)
        require_same_data(folder, data.sha256)
        model = build_model(config, data)
        set_model_weights(model, load_weights(weights))
        model.eval()
        index = folder / INDEX
        if index.is_file() and hasattr(model, "set_index"):
            model.set_index(HierarchicalIndex.load(index, items=Ids.of(data.dataset).items))
        return cls(config, data, model)

    @cached_property
    def vectors(self) -> tuple[Tensor, Tensor] | None:
        """User and item vectors whose inner products are the scores; None if the model has none.

        RecBole's padding rows come first: shapes (U + 1, D) and (I + 1, D).

        Raises:
            ValueError: If a vector is not finite. The message names its id.
        """
        if not has_embeddings(self.model):
            return None
        with torch.no_grad():
            users, items = (part.detach() for part in user_item_embeddings(self.model))
        require_finite("user embeddings", users[1:], self.user_tokens)
        require_finite("item embeddings", items[1:], self.item_tokens)
        return users, items

    @cached_property
    def user_tokens(self) -> np.ndarray:
        """External user ids in RecBole's order, without padding, shape (U,)."""
        return Ids.of(self.data.dataset).users

    @cached_property
    def item_tokens(self) -> np.ndarray:
        """External item ids in RecBole's order, without padding, shape (I,)."""
        return Ids.of(self.data.dataset).items
