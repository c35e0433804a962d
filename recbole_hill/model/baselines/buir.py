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

    def calculate_loss(self, interaction) -> Tensor:
        """The two regression losses of a batch, from the vectors of its users and items alone."""
        user, item = self.positives(interaction)
        vectors, _ = self.vectors_of(user, item)
        return self.regression_loss(*map(self.predictor, vectors), user, item)

    def embedding_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """The same loss, given the concatenations of all users and items."""
        user, item = self.positives(interaction)
        size = self.predictor.in_features
        return self.regression_loss(users[user, :size], items[item, size:], user, item)

    def regression_loss(self, of_user: Tensor, of_item: Tensor, user: Tensor, item: Tensor):
        """The loss of the predictions q(u) and q(i), (B, D) each, of users and items (B,)."""
        target_user, target_item = self.target_vectors(user, item)
        forward = F.cosine_similarity(of_user, target_item, dim=1)
        backward = F.cosine_similarity(of_item, target_user, dim=1)
        return (4 - 2 * forward - 2 * backward).mean()

    @torch.no_grad()
    def target_vectors(self, user: Tensor, item: Tensor) -> tuple[Tensor, Tensor]:
        """Moves the target if a step was taken; returns its vectors u' and i', (B, D) each."""
        if self.stepped:
            self.move_target()
        self.stepped.fill_(True)
        tables = torch.cat([table.weight for table in self.target])
        rows, _ = self.propagate_to(torch.cat((user, item + self.n_users)), tables)
        return rows.split((len(user), len(item)))
