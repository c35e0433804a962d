"""Test-time training, beside training the backbone."""

import json
import time
from pathlib import Path

import torch

from recbole_hill.adapt.finetune import TestTimeTraining
from recbole_hill.adapt.forms import pair_loss
from recbole_hill.adapt.selection import select_pairs, train_history
from recbole_hill.data.ids import Ids
from recbole_hill.index.em import kmeans_index
from rows import jobs
from rows.row import Row, largest_difference, require_close
from rows.spectral import item_vectors

STEPS = 2
#: A finished run of the backbone on Gowalla, for its number of epochs.
RECORDED = Path(__file__).resolve().parents[2] / "results" / "gowalla" / "hill-published.jsonl"


class PairTraining(Row):
    """Extracting the pairs and `ttt_epochs` of training on them, by a step's cost."""

    what = "test-time training on NESCL: pairs and all its epochs"
    at_most = 0.05

    def __init__(self, setting):
        super().__init__(setting)
        rows = map(json.loads, RECORDED.read_text(encoding="utf-8").splitlines())
        self.epochs = next(r["stages"]["backbone"]["epochs"] for r in rows if r["model"] == "NESCL")
        self.beside = f"the backbone's {self.epochs} epochs (those of the recorded Gowalla run)"

    def prepare(self) -> None:
        """Builds HILL on NESCL with an index of spectral vectors, and finds the pairs."""
        job = jobs.ours(
            self.setting,
            "HILL",
            backbone="NESCL",
            nodes_per_depth=[8000, 800],
            train_batch_size=4096,
        )
        self.job, self.model, self.trainer = job, job.model, job.trainer
        tokens = Ids.of(job.data.train._dataset).items
        nodes = list(self.model.settings.nodes_per_depth)
        self.model.set_index(
            kmeans_index(item_vectors(self.setting), tokens, nodes, seed=0, iterations=3)
        )
        self.model.begin_backbone_epoch(job.config["epochs"])
        self.ours()
        loss = pair_loss(self.trainer, self.pairs, len(job.data.train))
        self.training = TestTimeTraining(self.model, loss, self.model.settings.ttt_weight)

    def ours(self):
        """Finds the pairs once, and takes steps on them."""
        self.pairs = select_pairs(self.trainer, self.model.index, self.job.data.train)

    def peer(self):
        """Takes a few of the backbone's steps."""
        self.job.steps(STEPS)

    def cost(self, side) -> float:
        """Returns what the whole of a side costs, from a few of its steps."""
        steps = len(self.job.data.train)
        if side == self.peer:
            return super().cost(side) / STEPS * steps * self.epochs
        started = time.process_time()
        plain, self.model.calculate_loss = self.model.calculate_loss, self.training.loss
        self.peer()
        self.model.calculate_loss = plain
        step = (time.process_time() - started) / STEPS
        return super().cost(side) + step * steps * self.model.settings.ttt_epochs

    def check(self) -> str:
        """Compares the loss with its parts."""
        batch = self.job.batch()
        torch.manual_seed(1)
        whole = self.training.loss(batch)
        torch.manual_seed(1)
        own, users, items = self.model.loss_and_vectors(batch)
        pairs = self.training.pair_loss(users, items)
        expected = own + self.training.weight * pairs
        difference = largest_difference(whole.detach(), expected.detach())
        history = train_history(self.job.data.train._dataset).tocsr()
        rate = _rate(history, self.model.index.parents[0], self.pairs)
        text = require_close(rate, 1e-6, f"rates of {len(self.pairs):,} pairs, counted anew")
        return f"{text}; {require_close(difference, 1e-5, 'loss and its parts')}"


def _rate(history, parents, pairs, n: int = 300) -> float:
    """Returns the largest error of the depth-1 rates of some pairs: coverage of the children."""
    here = pairs.at_depth(1)
    worst = 0.0
    for user, node, rate in list(zip(here.users, here.nodes, here.rates, strict=True))[:n]:
        children = set((parents == node).nonzero()[0].tolist())
        items = set(history.indices[history.indptr[user] : history.indptr[user + 1]].tolist())
        worst = max(worst, abs(len(children & items) / len(children) - rate))
    return worst


ROWS = [PairTraining]
