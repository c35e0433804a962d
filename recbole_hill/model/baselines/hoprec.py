"""HOP-Rec: BPR whose positives also lie several hops away; each hop counts less.

Reference:
    Jheng-Hong Yang et al. "HOP-Rec: High-Order Proximity for Implicit Recommendation."
    in RecSys 2018.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_hill.data.graph import InteractionGraph
from recbole_hill.model.bases.factorization import MatrixFactorization
from recbole_hill.model.bases.fit_once import train_matrix


class HOPRec(MatrixFactorization):
    """SGD on sum_w 1/w sum_j [x < 1/w] (-ln sigmoid x), x = <u, i_w> - <u, j> (Eq. 5, 6).

    i_1 is an item of u. i_w is reached from i_{w-1} through one of the users of i_{w-1}. The steps
    follow the authors: an item moves by the sum over the negatives; a user moves by the mean over
    the negatives within the margin; each vector shrinks whenever it moves. Negatives are uniform,
    as in the authors' code (``no_degrees``), and may be items of u. A step of hop w, and its decay,
    have the rate divided by w. The code is ``HBPR`` of cnclabs/smore. HILL's Table 3 quotes the row
    of NGCF's comparison, which names no code.

    Two things differ from the authors. They step after every negative; here the steps of a batch
    are taken together. Iterating over interactions draws users in proportion to their degree; the
    authors' alias table raises every weight to .75, although the call asks for the degree itself.

    Settings: :class:`~recbole_hill.model.bases.factorization.MatrixFactorization`'s without
    ``reg_weight``, ``n_hops`` (K), ``user_decay``, ``item_decay``; ``learner: sgd``.
    """

    sums_over_batch = True
    has_l2 = False

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.n_hops = config["n_hops"]
        self.user_decay, self.item_decay = config["user_decay"], config["item_decay"]
        self.graph = InteractionGraph(train_matrix(dataset))

    def further(self, items: Tensor) -> Tensor:
        """Returns for each item an item that shares a random user with it, both (B,)."""
        return self._neighbour(self._neighbour(items + self.n_users)) - self.n_users

    def _neighbour(self, nodes: Tensor) -> Tensor:
        degree = self.graph.degree[nodes].long()
        drawn = torch.rand(len(nodes), device=nodes.device, dtype=torch.float64)
        place = torch.minimum((drawn * degree).long(), degree - 1)
        return self.graph.col[self.graph.crow[nodes] + place]

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The loss whose gradient gives the batch's steps; a sum, because SGD's steps add up."""
        user, positive, negative = self.draw(interaction)
        loss = users.new_zeros(())
        for hop in range(1, self.n_hops + 1):
            if hop > 1:
                positive = self.further(positive)
                negative = self.sampler.negatives(
                    user, self.n_negatives, reject=self.reject_positives
                )
            loss = loss + self.hop_loss(users[user], items[positive], items[negative], hop)
        return loss

    def hop_loss(self, user: Tensor, positive: Tensor, negative: Tensor, hop: int) -> Tensor:
        """Returns the summed loss of one hop.

        Args:
            user: User vectors, shape (B, D).
            positive: Vectors of the positives, shape (B, D).
            negative: Vectors of the negatives, shape (B, n, D).
            hop: Number of the hop; 1 for the user's own items.
        """
        difference = positive.unsqueeze(1) - negative
        of_items = torch.einsum("bd,bnd->bn", user.detach(), difference)
        of_user = torch.einsum("bd,bnd->bn", user, difference.detach())
        active = (of_items <= 1 / hop).float()
        moved = active.sum(1)
        steps = (F.softplus(-of_items) * active).sum(1)
        steps = steps + (F.softplus(-of_user) * active).sum(1) / moved.clamp_min(1)
        decay = self.user_decay * user.square().sum(1) * (moved > 0)
        decay = decay + self.item_decay * positive.square().sum(1) * moved
        decay = decay + self.item_decay * (negative.square().sum(2) * active).sum(1)
        return (steps + decay / 2).sum() / hop
