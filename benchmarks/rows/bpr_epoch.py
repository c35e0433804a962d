"""Training steps of matrix factorisation under BPR."""

import torch
from recbole.data.interaction import Interaction

from rows import jobs
from rows.row import Row, require_close

STEPS, CURVE = 100, 30


class BPREpoch(Row):
    """Steps of an epoch: loader, negatives, loss, gradient and Adam."""

    what = f"BPR epoch, batch 2048 ({STEPS} of its steps)"
    beside = "RecBole's BPR"
    at_least = 2.0

    def prepare(self) -> None:
        """Builds both with one negative a positive."""
        self.theirs, self.own = jobs.recboles_bpr(self.setting), jobs.bpr(self.setting)

    def ours(self):
        """Takes our steps."""
        self.own.steps(STEPS)

    def peer(self):
        """Takes RecBole's steps."""
        self.theirs.steps(STEPS)

    def check(self) -> str:
        """Compares the loss curves of the same batches from the same weights, then the tables."""
        own, theirs = self.own, self.theirs
        batches = [theirs.batch() for _ in range(CURVE)]
        drawn = iter(batches)

        def draw(_):
            batch = next(drawn)
            return batch["user_id"], batch["item_id"], batch["neg_item_id"].unsqueeze(1)

        weights = {name: value.clone() for name, value in theirs.model.state_dict().items()}
        curves = []
        for job in (own, theirs):
            job.model.load_state_dict(weights)
            job.trainer.optimizer = job.trainer._build_optimizer()
        own.model.draw = draw
        for job in (own, theirs):
            feed = [Interaction({k: b[k] for k in ("user_id", "item_id")}) for b in batches]
            curves.append(_curve(job, batches if job is theirs else feed))
        del own.model.draw
        curve = (curves[0] - curves[1]).abs().max() / curves[1].abs().max()
        moved = max(
            float((own.model.state_dict()[name] - value).abs().max())
            / float((value - weights[name]).abs().max())
            for name, value in theirs.model.state_dict().items()
        )
        require_close(moved, 1e-2, "tables relative to how far they moved")
        text = require_close(float(curve), 1e-5, f"losses of {CURVE} steps")
        return f"{text}; tables, relative to how far they moved: {moved:.1g}"


def _curve(job, batches) -> torch.Tensor:
    losses = []
    job.model.train()
    for batch in batches:
        job.trainer.optimizer.zero_grad()
        loss = job.model.calculate_loss(batch)
        loss.backward()
        job.trainer.optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


ROWS = [BPREpoch]
