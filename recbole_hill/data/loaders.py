"""RecBole's samplers and loaders, with fixed candidates, and with users who have every item."""

from collections.abc import Iterator
from contextlib import contextmanager
from logging import getLogger

import numpy as np
import recbole.data.utils
from recbole.data.dataloader import NegSampleEvalDataLoader, TrainDataLoader
from recbole.sampler import Sampler


class PatientSampler(Sampler):
    """RecBole's sampler, which draws any item for a user who has every item.

    RecBole refuses the dataset, because there is no negative for such a user.
    """

    def get_used_ids(self):
        """Returns, by phase, the items that each user has; see RecBole."""
        n_items, self.item_num = self.item_num, None  # RecBole refuses by this number
        used = super().get_used_ids()
        self.item_num = n_items
        sets = used[self.phases[-1]]
        #: Users who have every item.
        self.full = [user for user, items in enumerate(sets) if len(items) + 1 == n_items]
        #: By phase, the items that are not drawn for each user. Evaluation masks ``used_ids``.
        self._avoided = {phase: sets.copy() for phase, sets in used.items()}
        for sets in self._avoided.values():
            sets[self.full] = [set() for _ in self.full]
        return used

    def sample_by_key_ids(self, key_ids, num):
        """Draws items for users; see RecBole."""
        kept, self.used_ids = self.used_ids, self._avoided[self.phase]
        try:
            return super().sample_by_key_ids(key_ids, num)
        finally:
            self.used_ids = kept


class FixedCandidates(NegSampleEvalDataLoader):
    """RecBole's loader of sampled evaluation, with the same candidates of a user at every pass.

    They depend on ``split_seed`` and the user alone, so that weights have one score.
    """

    def _neg_sampling(self, inter_feat):
        state = np.random.get_state()  # what training draws next does not change
        np.random.seed([self.config["split_seed"], int(inter_feat[self.uid_field][0])])
        try:
            return super()._neg_sampling(inter_feat)
        finally:
            np.random.set_state(state)


def train_loader(config, dataset) -> TrainDataLoader:
    """Returns RecBole's loader of a train set, which draws negatives if the model asks for them.

    Args:
        config: The run's configuration.
        dataset: The train set.
    """
    drawn, sampler = config["train_neg_sample_args"], None
    if drawn["distribution"] != "none":
        sampler = PatientSampler(["train"], [dataset], drawn["distribution"], drawn["alpha"])
        sampler = sampler.set_phase("train")
    return TrainDataLoader(config, dataset, sampler, shuffle=config["shuffle"])


def of_drawn_users(loader, n_users: int, seed: int):
    """Returns an evaluation loader of the rows of some users of another one.

    Args:
        loader: RecBole's loader of validation or test rows.
        n_users: Number of users. A loader of no more users than that is returned as it is.
        seed: Seed of the draw.
    """
    dataset = loader._dataset
    users = dataset.inter_feat[dataset.uid_field].numpy()
    present = np.unique(users)
    if n_users >= len(present):
        return loader
    drawn = np.random.default_rng(seed).choice(present, n_users, replace=False)
    rows = dataset.inter_feat[np.flatnonzero(np.isin(users, drawn))]
    return type(loader)(loader.config, dataset.copy(rows), loader._sampler)


def say_full_users(*loaders) -> None:
    """Logs how many users have every item, if there are such users."""
    samplers = (getattr(loader, "_sampler", None) for loader in loaders)
    full = next((sampler.full for sampler in samplers if hasattr(sampler, "full")), ())
    if full:
        dataset = loaders[0]._dataset
        first = dataset.id2token(dataset.uid_field, full[0])
        getLogger().warning(
            f"users with every item: {len(full):,} (first {str(first)!r}); any item is drawn as "
            "their negative, and nothing is left to recommend to them"
        )


@contextmanager
def our_loaders() -> Iterator[None]:
    """Makes RecBole's ``data_preparation`` use these classes while the block runs."""
    module = recbole.data.utils
    ours = {"Sampler": PatientSampler, "NegSampleEvalDataLoader": FixedCandidates}
    kept = {name: getattr(module, name) for name in ours}
    vars(module).update(ours)
    try:
        yield
    finally:
        vars(module).update(kept)
