"""A finished run's model, with the weights that the run serves and the data of its training."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from recbole.utils import ModelType
from scipy.sparse import csr_matrix
from torch import Tensor

from recbole_hill.checks import require_finite
from recbole_hill.config.config import HillConfig, without_retired
from recbole_hill.data.cold_users import RANK, Popularity
from recbole_hill.data.ids import Ids
from recbole_hill.data.splits import Data, load_data, require_same_data
from recbole_hill.data.tables import has_tables
from recbole_hill.host.memory import keep_freed_memory
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.model.backbone import has_embeddings, user_item_embeddings
from recbole_hill.model.build import build_model
from recbole_hill.model.bundle import Bundle
from recbole_hill.model.hill import HILL
from recbole_hill.run.checkpoint import load_weights, set_model_weights
from recbole_hill.run.folder import CONFIG, INDEX, STAGES, read_config, served_weights
from recbole_hill.run.hashes import require_unchanged, warn_if_changed


def is_served_by_vectors(model_class: type) -> bool:
    """Returns whether a model's lists are made by inner products, not by a search of its own."""
    return has_embeddings(model_class) and not hasattr(model_class, "searcher")


def needs_tables(config) -> bool:
    """Returns whether a run keeps the tables of its data, because its model serves it.

    A model of a knowledge graph reads more than tables; its runs are served beside the data set.
    """
    served = is_served_by_vectors(config.model_class)
    return not served and config["MODEL_TYPE"] != ModelType.KNOWLEDGE


def config_of(folder: Path) -> HillConfig:
    """Returns a finished run's configuration; its data are the run's own tables, if it has any."""
    settings = {**without_retired(read_config(folder)), "run_dir": str(folder)}
    config = HillConfig(None, None, None, settings)
    if has_tables(folder):
        config["kept_tables"] = str(folder)
    return config


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
        weights, config = served_weights(folder), config_of(folder)
        require_unchanged(folder, weights.name, INDEX, STAGES)
        warn_if_changed(folder, CONFIG)
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

    @property
    def index(self) -> HierarchicalIndex | None:
        """The run's index over its items, as it was saved; None for a run without an index."""
        return getattr(self.model, "index", None)

    @property
    def is_served_by_vectors(self) -> bool:
        """Whether lists are made by inner products, not by a search of the model's own."""
        return is_served_by_vectors(type(self.model))

    @property
    def is_sequential(self) -> bool:
        """Whether the model predicts from a user's last items."""
        return self.config["MODEL_TYPE"] == ModelType.SEQUENTIAL

    @property
    def search_settings(self) -> dict:
        """How the run makes lists: ``retrieval``, ``beam_width`` and ``node_score``."""
        if not isinstance(self.model, HILL):
            own = "own" if hasattr(self.model, "searcher") else "exact"
            return {"retrieval": own, "beam_width": None, "node_score": None}
        settings = self.model.settings
        return {
            "retrieval": settings.retrieval,
            "beam_width": list(settings.beam_width),
            "node_score": settings.node_score,
        }

    @property
    def about(self) -> dict:
        """The run in plain data: model, dataset, hash of the data, and how lists are made."""
        named = {key: self.config[key] for key in ("model", "dataset")}
        return {**named, "data_sha256": self.data.sha256, **self.search_settings}

    def bundle(self) -> Bundle:
        """Returns what serving needs, for a run that :attr:`is_served_by_vectors`."""
        with torch.no_grad():
            pair = user_item_embeddings(self.model)
        users, items = (part.detach().cpu().float().numpy()[1:] for part in pair)
        seen = self.seen_matrix()[1:, 1:]
        ids = Ids(self.user_tokens, self.item_tokens)
        starts, of_users = seen.indptr.astype(np.int64), seen.indices.astype(np.int32)
        cold, popular = np.zeros(len(users), dtype=bool), np.zeros(len(items), dtype=np.float32)
        if self.popularity is not None:
            cold, popular = self.popularity.cold[1:].numpy(), self.popularity.scores[1:].numpy()
        return Bundle(
            self.about, ids, users, items, starts, of_users, cold, popular, index=self.index
        )

    @cached_property
    def popularity(self) -> Popularity | None:
        """The ranking for users without a train item; None if the run left them out."""
        dataset = self.data.train._dataset
        rank = self.config["cold_test_users"] == RANK and dataset.of_pairs
        return Popularity.of(dataset) if rank else None

    def seen_matrix(self) -> csr_matrix:
        """Returns the pairs that count as seen, by RecBole's ids, shape (U + 1, I + 1).

        They are the pairs of train and, where it is no test set, of validation.
        """
        loaders = [self.data.train]
        if self.config["protocol"] == "holdout":
            loaders.append(self.data.valid)
        matrices = [loader._dataset.inter_matrix(form="csr") for loader in loaders]
        return sum(matrices[1:], matrices[0])

    @cached_property
    def user_tokens(self) -> np.ndarray:
        """External user ids in RecBole's order, without padding, shape (U,)."""
        return Ids.of(self.data.dataset).users

    @cached_property
    def item_tokens(self) -> np.ndarray:
        """External item ids in RecBole's order, without padding, shape (I,)."""
        return Ids.of(self.data.dataset).items
