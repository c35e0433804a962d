"""The stage in which a run selects the <user, node> pairs of test-time training.

A pair is a user and an index node that the user is interested in. Pairs come from train alone.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import scipy.sparse as sp
import torch

from recbole_hill import registry
from recbole_hill.adapt.interest import interest_from_lists
from recbole_hill.adapt.pairs import Pairs
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.retrieval.base import Retriever
from recbole_hill.retrieval.choose import choose_retriever
from recbole_hill.train.index_stage import IndexTrainer

#: Number of users whose lists are searched at once.
_USERS_AT_ONCE = 1024


def select_pairs(trainer: IndexTrainer, index: HierarchicalIndex, train_data) -> Pairs:
    """Selects the <user, node> pairs by the selector that ``pair_selector`` names.

    Args:
        trainer: Trainer whose model has the index.
        index: The index.
        train_data: RecBole's train loader.

    Returns:
        The pairs.
    """
    started = time.perf_counter()
    history = train_history(train_data._dataset)
    select = registry.SELECTORS.find(trainer.settings.pair_selector).load()
    search = IndexSearch(trainer, history)
    pairs = select(history, search, index, settings_by_key(trainer))
    if not isinstance(pairs, Pairs):
        raise ValueError(
            f"pair_selector {trainer.settings.pair_selector} must return Pairs, got {pairs!r}"
        )
    if "pairs" not in trainer.stages:
        trainer.clock(time.perf_counter() - started)
        trainer.finish_stage("pairs", per_depth=pairs.per_depth())
    trainer.logger.info(f"pairs per depth: {pairs.per_depth()}")
    return pairs


def settings_by_key(trainer: IndexTrainer) -> Mapping:
    """Returns the run's settings by key; HILL's settings as they were validated."""
    return {**trainer.config.final_config_dict, **asdict(trainer.settings)}


def train_history(dataset) -> sp.csr_matrix:
    """Returns which user has which item in train, as a matrix of ones, shape (U + 1, I).

    Rows include the padding user; columns do not include the padding item.
    """
    matrix = dataset.inter_matrix(form="csr")[:, 1:].tocsr()
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


class IndexSearch:
    """The search that a pair selector may ask for: the trained model's, through the index.

    Nothing is searched before it is asked for.

    Args:
        trainer: Trainer whose model has the index.
        history: Which user has which item in train, shape (U + 1, I).
    """

    def __init__(self, trainer: IndexTrainer, history: sp.csr_matrix):
        self._trainer, self._history = trainer, history

    def __call__(self, k: int) -> np.ndarray:
        """Returns every user's k best unseen items, as rows of the index, (U + 1, k); -1 if none.

        Args:
            k: Length of the lists.
        """
        retriever, users = self._beam()
        blocks = []
        for start in range(0, len(users), _USERS_AT_ONCE):
            seen = self._history[start : start + _USERS_AT_ONCE].tocoo()
            exclude = tuple(torch.from_numpy(a.astype(np.int64)) for a in (seen.row, seen.col + 1))
            _, ids = retriever.search(users[start : start + _USERS_AT_ONCE], k, exclude)
            blocks.append(ids.cpu().numpy())
        lists = np.concatenate(blocks)
        lists[0] = -1  # the padding user has no list
        return np.where(lists > 0, lists - 1, -1)

    def kept_nodes(self) -> list[sp.csr_matrix]:
        """Returns which nodes the beam keeps for each user: by depth, shape (U + 1, K_d), ones.

        They are those of the beam's own width, also for a user whose list needs a wider beam.
        """
        retriever, users = self._beam()
        sizes = self._trainer.model.index.nodes_per_depth
        padding = [sp.csr_matrix((1, n), dtype=np.int64) for n in sizes]  # this user keeps nothing
        blocks = [padding]
        for part in users[1:].split(retriever.block):
            kept = retriever.kept_nodes(part)
            blocks.append(
                [interest_from_lists(k.cpu().numpy(), n) for k, n in zip(kept, sizes, strict=True)]
            )
        return [sp.vstack(parts, format="csr") for parts in zip(*blocks, strict=True)]

    def _beam(self) -> tuple[Retriever, torch.Tensor]:
        self._trainer.model.eval()
        users, items = self._trainer.model.vectors()
        return retriever_of(self._trainer, "beam", items), users


def retriever_of(trainer: IndexTrainer, name: str, items) -> Retriever:
    """Returns the search with the given name over the model's index, by the model's settings.

    Args:
        trainer: Trainer whose model has the index.
        name: ``exact`` | ``beam`` | ``faiss``.
        items: Item vectors with the padding row, shape (I + 1, D).
    """
    settings = trainer.settings
    return choose_retriever(
        name,
        items,
        trainer.model.index,
        beam_width=settings.beam_width,
        node_score=settings.node_score,
    )
