"""The stage in which a run selects the <user, node> pairs of test-time training.

A pair is a user and an index node that the user is interested in. Pairs come from train alone.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import scipy.sparse as sp
import torch

from recbole_hill import registry
from recbole_hill.adapt.interest import interest_from_lists
from recbole_hill.adapt.pairs import Pairs
from recbole_hill.data.tasks import Task, tasks_of
from recbole_hill.index.hierarchy import HierarchicalIndex
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
    dataset = train_data._dataset
    history = train_history(dataset, tasks_of(trainer.config))
    select = registry.SELECTORS.find(trainer.settings.pair_selector).load()
    search = IndexSearch(trainer, train_history(dataset))
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


def train_history(dataset, tasks: Sequence[Task] = ()) -> sp.csr_matrix:
    """Returns which user has which item in train, as a matrix of ones, shape (U + 1, I).

    Rows include the padding user; columns do not include the padding item.

    Args:
        dataset: RecBole's train set.
        tasks: Labels of its rows. Only rows whose first label is 1 count; without labels all do.
    """
    rows = dataset.inter_feat
    users, items = (rows[field].numpy() for field in (dataset.uid_field, dataset.iid_field))
    if tasks:
        liked = rows[tasks[0].name].numpy() > 0
        users, items = users[liked], items[liked]
    shape = (dataset.user_num, dataset.item_num - 1)
    matrix = sp.csr_matrix((np.ones(len(users)), (users, items - 1)), shape=shape)
    matrix.data[:] = 1
    return matrix


class IndexSearch:
    """The search that a pair selector may ask for: the trained model's, through the index.

    Nothing is searched before it is asked for.

    Args:
        trainer: Trainer whose model has the index.
        seen: Which user has which item in train, shape (U + 1, I).
    """

    def __init__(self, trainer: IndexTrainer, seen: sp.csr_matrix):
        self._trainer, self._seen = trainer, seen

    def __call__(self, k: int) -> np.ndarray:
        """Returns every user's k best unseen items, as rows of the index, (U + 1, k); -1 if none.

        Args:
            k: Length of the lists.
        """
        searcher, blocks = self._beam(), []
        for users in torch.arange(self._seen.shape[0]).split(_USERS_AT_ONCE):
            seen = self._seen[users.numpy()].tocoo()
            exclude = tuple(torch.from_numpy(a.astype(np.int64)) for a in (seen.row, seen.col + 1))
            _, ids = searcher.search(users, k, exclude)
            blocks.append(ids.cpu().numpy())
        lists = np.concatenate(blocks)
        lists[0] = -1  # the padding user has no list
        return np.where(lists > 0, lists - 1, -1)

    def kept_nodes(self) -> list[sp.csr_matrix]:
        """Returns which nodes the beam keeps for each user: by depth, shape (U + 1, K_d), ones.

        They are those of the beam's own width, also for a user whose list needs a wider beam.
        """
        searcher = self._beam()
        sizes = self._trainer.model.index.nodes_per_depth
        padding = [sp.csr_matrix((1, n), dtype=np.int64) for n in sizes]  # this user keeps nothing
        blocks = [padding]
        for users in torch.arange(1, self._seen.shape[0]).split(searcher.block):
            kept = searcher.kept_nodes(users)
            blocks.append(
                [interest_from_lists(k.cpu().numpy(), n) for k, n in zip(kept, sizes, strict=True)]
            )
        return [sp.vstack(parts, format="csr") for parts in zip(*blocks, strict=True)]

    def _beam(self):
        self._trainer.model.eval()
        return self._trainer.searcher("beam")
