"""Test-time training of a model of labels: a <user, node> pair is one more labelled row.

A pair is a user and an index node that the user is interested in.
"""

import torch
from torch import Tensor

from recbole_hill.adapt.draws import PairDraws
from recbole_hill.adapt.pairs import Pairs


class PairRows:
    """Puts a share of the pairs beside every batch, each as a row whose first label is 1.

    The model makes the rows and their loss: see ``loss_of_pairs`` of
    :class:`recbole_hill.labelled.hill.LabelledHILL`.

    Args:
        pairs: The <user, node> pairs (RecBole's user ids, and node ids per depth).
        steps: Number of training steps in an epoch.
    """

    def __init__(self, pairs: Pairs, steps: int):
        self.draws = PairDraws(pairs, steps)

    def beside(self, model, interaction) -> tuple[Tensor, Tensor]:
        """Returns the model's loss on a RecBole batch, and the mean loss of this step's pairs."""
        loss = model.backbone_loss(interaction)
        of_pairs = [
            model.loss_of_pairs(users, nodes, depth)
            for depth, users, nodes, _ in self.draws.draw(model.device)
        ]
        return loss, torch.cat(of_pairs).mean()
