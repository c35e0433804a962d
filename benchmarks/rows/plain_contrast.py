"""NESCL's contrastive loss as the formula is written: one similarity matrix a kind of positive."""

import torch
import torch.nn.functional as F
from torch import Tensor


def plain_contrast(
    view: Tensor, other: Tensor, users: Tensor, items: Tensor, neighbours: Tensor, *, tau, form
) -> Tensor:
    """Returns the value of `recbole_hill.model.losses.neighbour_contrast`; same arguments."""
    anchors = torch.cat((users, items))
    positives = torch.stack((anchors, torch.cat((items, users)), neighbours), 1)  # (2B, 3)
    columns = F.normalize(other[anchors])
    log_s = []
    for which in range(3):
        rows = F.normalize(view[positives[:, which]])
        logits = rows @ columns.T / tau
        log_s.append(logits.diagonal() - logits.logsumexp(1))
    log_s = torch.stack(log_s, 1)
    return -log_s.mean() if form == "in" else -log_s.exp().mean(1).log().mean()
