"""Full-ranking evaluation of trained models' vectors."""

from copy import copy

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader

from rows import jobs
from rows.row import Row, require_close

USERS = 2000


class Evaluation(Row):
    """RecBole's metrics of a sample of users over all items, seen ones left out."""

    what = f"full-ranking evaluation of {USERS:,} users"
    users_per_batch = 1

    def prepare(self) -> None:
        """Builds both with one set of vectors: the spread of trained ones, not their values."""
        self.own = jobs.bpr(self.setting)
        n_items = self.own.data.dataset.item_num
        # RecBole's default is 4096, fewer than there are items: a user a batch.
        batch = 4096 if self.users_per_batch == 1 else self.users_per_batch * n_items
        self.theirs = jobs.recboles_bpr(self.setting)
        torch.manual_seed(0)
        for name in ("user_embedding", "item_embedding"):
            table = torch.randn_like(getattr(self.own.model, name).weight) * 0.1
            for job in (self.own, self.theirs):
                getattr(job.model, name).weight.data.copy_(table)
        self.theirs.config["eval_batch_size"] = batch
        self.loaders = [_sample(job) for job in (self.own, self.theirs)]
        for job in (self.own, self.theirs):
            job.trainer.eval_collector.data_collect(job.data.train)

    def ours(self):
        """Returns the metrics as our trainer evaluates."""
        return self.own.trainer.evaluate(self.loaders[0], load_best_model=False)

    def peer(self):
        """Returns the metrics as RecBole evaluates."""
        return self.theirs.trainer.evaluate(self.loaders[1], load_best_model=False)

    def check(self) -> str:
        """Compares all metrics."""
        found, expected = self.ours(), self.peer()
        assert found.keys() == expected.keys()
        difference = max(abs(found[name] - expected[name]) for name in expected)
        return require_close(difference, 1e-6, f"{len(found)} metrics")


class BesideDefault(Evaluation):
    """RecBole as it comes."""

    beside = "RecBole's default `eval_batch_size` (one user a batch)"
    at_least = 4.0


class BesideLarge(Evaluation):
    """RecBole told to take more users at once."""

    beside = "RecBole with 1,000 users a batch"
    users_per_batch = 1000
    at_least = 2.5


def _sample(job) -> FullSortEvalDataLoader:
    """Returns a loader like the test set's, of the first users of it."""
    test = job.data.test
    dataset = test._dataset
    chosen = np.isin(dataset.inter_feat["user_id"].numpy(), test.uid_list[:USERS].numpy())
    dataset = copy(dataset)
    dataset.inter_feat = test._dataset.inter_feat[torch.from_numpy(chosen)]
    return FullSortEvalDataLoader(job.config, dataset, test._sampler)


ROWS = [BesideDefault, BesideLarge]
