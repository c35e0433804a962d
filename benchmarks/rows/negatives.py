"""Hundreds of negatives a positive."""

import numpy as np
import torch
from scipy.stats import chisquare

from recbole_hill.data.sampling import InteractionSampler
from rows import jobs
from rows.row import Row


class Negatives(Row):
    """Draws items that a user does not have in train, uniformly."""

    beside = "RecBole's sampler"
    at_least = 10.0
    users = 1024

    def prepare(self) -> None:
        """Makes our sampler of the interactions that RecBole's knows."""
        job = jobs.recboles_lightgcn(self.setting)
        dataset = job.data.train._dataset
        self.theirs = job.data.train._sampler
        self.sampler = InteractionSampler(dataset.inter_matrix(form="csr"))
        torch.manual_seed(0)
        self.batch = dataset.inter_feat["user_id"][torch.randperm(len(dataset))[: self.users]]

    def ours(self):
        """Draws with ours, (B, n)."""
        return self.sampler.negatives(self.batch, self.n, reject=True)

    def peer(self):
        """Draws with RecBole's, (n * B,)."""
        return self.theirs.sample_by_user_ids(self.batch.numpy(), None, self.n)

    def check(self) -> str:
        """Looks for positives, and tests the uniformity of one user's draws by chi-square.

        The users' own items must never come; the others, in cells of 100 items, equally often.
        """
        drawn = self.ours()
        used = self.theirs.used_ids
        for user, items in zip(self.batch.tolist(), drawn.tolist(), strict=True):
            assert not used[user].intersection(items), f"user {user} drew an item of train"
        user = int(self.batch[0])
        free = np.setdiff1d(np.arange(1, self.sampler.n_items), list(used[user]))
        drawn = self.sampler.negatives(torch.full((100,), user), 20_000, reject=True).flatten()
        counts = np.bincount(drawn.numpy(), minlength=self.sampler.n_items)
        assert counts.sum() == counts[free].sum()
        cells = counts[free][: len(free) // 100 * 100].reshape(-1, 100).sum(1)
        p = chisquare(cells).pvalue
        assert p > 1e-4, f"not uniform: chi-square p {p:.2g}"
        return f"no positive drawn in {self.users * self.n:,}; uniform: chi-square p {p:.2f}"


class Hundreds(Negatives):
    """BPR's in BARS."""

    n = 300
    what = f"{n} negatives a positive, {Negatives.users:,} positives"


class Thousands(Negatives):
    """SimpleX's order of size."""

    n = 2000
    users = 256
    what = f"{n:,} negatives a positive, {users} positives"


ROWS = [Hundreds, Thousands]
