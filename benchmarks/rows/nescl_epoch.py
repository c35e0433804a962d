"""NESCL's training steps, beside SGL's and beside its own loss written plainly."""

from unittest.mock import patch

import torch

from recbole_hill.data.graph import propagate
from recbole_hill.model import nescl
from recbole_hill.model.losses import neighbour_contrast
from rows import jobs
from rows.plain_contrast import plain_contrast
from rows.row import Row, largest_difference, require_close

STEPS = 1


def plainly(*arguments, precision=None, **settings):
    """Stands for ``neighbour_contrast`` in the model."""
    return plain_contrast(*arguments, **settings)


def compare_losses(model, batch) -> str:
    """Compares our contrast and the plain one on two views: values, and layer-0 gradients."""
    drops = [model.graph.drop_nodes(model.dropout_rate) for _ in range(2)]
    users, items = batch["user_id"], batch["item_id"] + model.n_users
    nodes = users, items, model.draw_neighbours(torch.cat((users, items)))
    found = []
    for loss in (neighbour_contrast, plain_contrast):
        ego = model._ego.detach().requires_grad_()
        views = [propagate(drop, ego, model.n_layers, with_ego=model.with_ego) for drop in drops]
        value = loss(*views, *nodes, tau=model.ssl_tau, form=model.ssl_form)
        found.append([value.detach(), *torch.autograd.grad(value, ego)])
    differences = [largest_difference(*pair) for pair in zip(*found, strict=True)]
    return require_close(max(differences), 1e-3, "contrastive loss and gradients of one batch")


class BesideSGL(Row):
    """Another model: what is compared is the cost, at twice SGL's positives."""

    what = "NESCL epoch, batch 4096 (one of its steps)"
    beside = "RecBole's SGL (its two graphs an epoch not counted)"
    at_most = 1.0

    def prepare(self) -> None:
        """Builds both."""
        self.own = jobs.nescl(self.setting)
        self.theirs = jobs.recboles(self.setting, "recbole.SGL", train_batch_size=4096)

    def ours(self):
        """Takes our steps."""
        self.own.steps(STEPS)

    def peer(self):
        """Takes SGL's steps."""
        self.theirs.steps(STEPS)

    def check(self) -> str:
        """Says that there is nothing to compare; the plain loss is the next row's."""
        steps = {len(job.data.train) for job in (self.own, self.theirs)}
        assert len(steps) == 1, f"an epoch has {steps} steps"
        return f"two models; both take {steps.pop()} steps an epoch"


class BesidePlain(Row):
    """The same model, its loss as the formula is written."""

    what = "NESCL epoch, batch 4096 (one of its steps)"
    beside = "the same with its loss written plainly"
    at_least = 2.0

    def prepare(self) -> None:
        """Builds the model."""
        self.job = jobs.nescl(self.setting)

    def ours(self):
        """Takes our steps."""
        self.job.steps(STEPS)

    def peer(self):
        """Takes the plain loss's steps."""
        with patch.object(nescl, "neighbour_contrast", plainly):
            self.job.steps(STEPS)

    def check(self) -> str:
        """Compares the two losses on one batch."""
        return compare_losses(self.job.model, self.job.batch())


ROWS = [BesideSGL, BesidePlain]
