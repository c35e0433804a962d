"""A whole epoch of matrix factorisation under BPR."""

import torch
from recbole.data.interaction import Interaction
from rows import jobs
from rows.row import Row, require_close

CURVE = 30


class BPREpoch(Row):
    """An epoch in RecBole's loop; ours writes its resumable state, too."""

    what = "BPR epoch, batch 2048"
    beside = "RecBole's BPR"
    at_least = 2.0

    def prepare(self) -> None:
        """Builds both with one negative a positive."""
        self.theirs = jobs.recboles(self.setting, "recbole.BPR", train_batch_size=2048)
        same = {
            "n_negatives": 1,
            "reject_positives": True,
            "positive_order": "interaction",
            "reg_weight": 0.0,
            "train_batch_size": 2048,
            "clip_grad_norm": None,
            "init_std": 0.1,
        }
        self.own = jobs.ours(self.setting, "BPR", **same)
        self.own.trainer._begin_stage("backbone", self.own.data.train)

    def ours(self):
        """Trains our epoch."""
        return self.own.trainer._train_epoch(self.own.data.train, 0)

    def peer(self):
        """Trains RecBole's epoch."""
        return self.theirs.trainer._train_epoch(self.theirs.data.train, 0)

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
    losses, inner = [], job.model.calculate_loss

    def noted(batch):
        loss = inner(batch)
        losses.append(loss.detach())
        return loss

    super(type(job.trainer), job.trainer)._train_epoch  # RecBole's loop is what runs below
    job.trainer.model.train()
    for batch in batches:
        job.trainer.optimizer.zero_grad()
        noted(batch).backward()
        job.trainer.optimizer.step()
    return torch.stack(losses)


ROWS = [BPREpoch]
