"""LightGCN's training steps."""

import torch
from recbole.data.interaction import Interaction

from rows import jobs
from rows.row import Row, largest_difference, require_close

STEPS = 4


class LightGCNEpoch(Row):
    """Steps of an epoch: loader, negatives, loss, gradient and Adam."""

    what = f"LightGCN epoch, batch 2048 ({STEPS} of its steps)"
    beside = "RecBole's LightGCN"
    at_least = 2.5

    def prepare(self) -> None:
        """Builds both; ours draws the pairs in RecBole's order, with RecBole's negatives."""
        self.theirs = jobs.recboles_lightgcn(self.setting)
        same = {key: self.theirs.config[key] for key in ("require_pow", "reg_weight", "n_layers")}
        order = {"positive_order": "interaction", "train_batch_size": 2048}
        self.own = jobs.ours(self.setting, "LightGCN", **same, **order)

    def ours(self):
        """Takes our steps."""
        self.own.steps(STEPS)

    def peer(self):
        """Takes RecBole's steps."""
        self.theirs.steps(STEPS)

    def check(self) -> str:
        """Compares loss and gradients on the same batch and weights."""
        ours, theirs = self.own.model, self.theirs.model
        batch = self.theirs.batch()
        before = {name: value.clone() for name, value in ours.state_dict().items()}
        ours.load_state_dict(theirs.state_dict())
        user, item, negative = (batch[key] for key in ("user_id", "item_id", "neg_item_id"))
        ours.draw = lambda _: (user, item, negative.unsqueeze(1))
        found = _loss_and_gradients(ours, Interaction({"user_id": user, "item_id": item}))
        expected = _loss_and_gradients(theirs, batch)
        del ours.draw
        ours.load_state_dict(before)
        differences = [largest_difference(*pair) for pair in zip(found, expected, strict=True)]
        return require_close(max(differences), 1e-4, "loss and gradients of one batch")


def _loss_and_gradients(model, batch) -> list[torch.Tensor]:
    model.zero_grad()
    loss = model.calculate_loss(batch)
    loss.backward()
    tables = (model.user_embedding.weight, model.item_embedding.weight)
    return [loss.detach(), *(table.grad.clone() for table in tables)]


ROWS = [LightGCNEpoch]
