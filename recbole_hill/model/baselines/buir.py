"""BUIR: two encoders, each predicts the other's vector of the pair's other side; no negatives.

Reference:
    Dongha Lee et al. "Bootstrapping User and Item Representations for One-Class Collaborative
    Filtering." in SIGIR 2021.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.model.bases.graph_model import LightGCNModel


class BUIR(LightGCNModel):
    """The NB variant, whose encoder is LightGCN: loss 2 - 2 cos(q(u), i') + 2 - 2 cos(q(i), u').

    q is a linear map. The target vectors u' and i' come from a moving average of the tables: target
    <- momentum target + (1 - momentum) online. The authors update it after every step. This class
    updates it before the next loss, which gives the same sequence. The score <q(u), i> + <u, q(i)>
    is one inner product of the concatenations [q(u); u] and [i; q(i)].

    Settings: :class:`~recbole_hill.model.bases.factorization.MatrixFactorization`'s without
    ``reg_weight``, ``n_layers``, ``momentum``, and RecBole's ``weight_decay``. Only positives are
    drawn. The tables start from Xavier's distribution, and ``init_std`` has no effect.
    """

    has_l2 = False

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.momentum = config["momentum"]
        size = config["embedding_size"]
        self.predictor = nn.Linear(size, size)
        for table in (self.user_embedding, self.item_embedding):
            nn.init.xavier_uniform_(table.weight)
        tables = (self.user_embedding, self.item_embedding)
        self.target = nn.ModuleList(copy.deepcopy(t) for t in tables).requires_grad_(False)
        #: Whether a step was taken since the target last moved; saved for resuming.
        self.register_buffer("stepped", torch.zeros((), dtype=torch.bool))

    def online(self) -> tuple[Tensor, Tensor]:
        """Returns the online encoder's vectors, (U, D) and (I, D)."""
        return super().user_item_embeddings()

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the concatenations, (U, 2D) and (I, 2D), whose inner product is the score."""
        users, items = self.online()
        left = torch.cat((self.predictor(users), users), 1)
        return left, torch.cat((items, self.predictor(items)), 1)

    @torch.no_grad()
    def move_target(self) -> None:
        """Moves the target tables toward the online tables."""
        for target, online in zip(
            self.target, (self.user_embedding, self.item_embedding), strict=True
        ):
            target.weight.lerp_(online.weight, 1 - self.momentum)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The two regression losses of a batch."""
        if self.stepped:
            self.move_target()
        self.stepped.fill_(True)
        user, item = self.positives(interaction)
        with torch.no_grad():
            nodes = self.propagate(torch.cat([table.weight for table in self.target]))
            target_users, target_items = nodes.split((self.n_users, self.n_items))
        size = self.predictor.in_features
        forward = F.cosine_similarity(users[user, :size], target_items[item], dim=1)
        backward = F.cosine_similarity(items[item, size:], target_users[user], dim=1)
        return (4 - 2 * forward - 2 * backward).mean()
