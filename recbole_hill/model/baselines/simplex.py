"""SimpleX: a user vector mixed with the user's history, trained by the cosine contrastive loss.

Reference:
    Kelong Mao et al. "SimpleX: A Simple and Strong Baseline for Collaborative Filtering."
    in CIKM 2021.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_hill.data.graph import InteractionGraph
from recbole_hill.model.baselines.mfccl import MFCCL
from recbole_hill.model.bases.attention import segment_softmax, segment_sums
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.model.bases.history import histories, history_means
from recbole_hill.model.bases.pair_products import pair_products
from recbole_hill.model.losses import unit


class SimpleX(MFCCL):
    """MF-CCL with the user vector g p_u + (1 - g) V agg(history of u) (Eq. 5).

    ``aggregator`` is ``mean``, or ``user_attention`` with the weights softmax <tanh(W q_i + b),
    p_u>. With g = 1 the model is MF-CCL.

    RecBole's class of this name differs in four points. It leaves the target in its user's history,
    so the label leaks. It keeps a random 50 items of long histories. It always shares the item
    table. It applies dropout before scaling to length 1. Here, as in the authors' runs, training
    leaves the target out, histories are whole, Gowalla has a separate table for histories
    (``share_embedding`` False), and dropout comes after the scaling.

    The authors' code (reczoo/RecZoo, matching/cf/SimpleX) pads all histories to one length, the
    longest of the train rows: 810 on Gowalla. In the softmax of ``user_attention`` a padded place
    has the logit 0 and the zero vector, so it takes weight from the items. ``attention_padding`` is
    this length. Short histories then count for little: at the start, where all logits are near 0, a
    history of n items contributes n / 810 of its mean. Only the softmax's denominator changes, and
    nothing is padded in memory. In ranking, the authors cut Gowalla's longest history (811 items)
    to 810; here it is whole.

    Settings: :class:`~recbole_hill.model.baselines.mfccl.MFCCL`'s, ``gamma`` (g), ``aggregator``,
    ``attention_padding`` (0: none), ``share_embedding``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.gamma = config["gamma"]
        self.aggregator = config["aggregator"]
        self.attention_padding = config["attention_padding"]
        self.graph = InteractionGraph(train_matrix(dataset))
        size = config["embedding_size"]
        if not config["share_embedding"]:
            self.history_embedding = nn.Embedding(self.n_items, size)
            nn.init.normal_(self.history_embedding.weight, std=config["init_std"])
        self.value = nn.Linear(size, size, bias=False)
        nn.init.xavier_normal_(self.value.weight)
        if self.aggregator == "user_attention":
            self.key = nn.Linear(size, size)
            nn.init.xavier_normal_(self.key.weight)
            nn.init.zeros_(self.key.bias)

    def aggregate(self, users: Tensor, left_out: Tensor | None = None) -> Tensor:
        """Returns V agg(history) of some users.

        Args:
            users: User ids, shape (B,).
            left_out: For each user an item that does not count, shape (B,).

        Returns:
            Shape (B, D); 0 for an empty history.
        """
        table = getattr(self, "history_embedding", self.item_embedding).weight
        if self.aggregator == "mean":
            return self.value(history_means(self.graph, table, users, left_out))
        crow, row, item, counted = histories(self.graph, users, left_out)
        near, place = item.unique(return_inverse=True)  # a batch contains a part of the items
        keys = self.key(F.embedding(near, table)).tanh()
        logits = pair_products(self.user_embedding(users), row, keys, place)
        lengths = logits.new_zeros(len(users)).index_add(0, row, counted.to(logits.dtype))
        padding = (self.attention_padding - lengths).clamp_min(0)
        logits = logits.masked_fill(~counted, -torch.inf)
        weights = segment_softmax(logits, row, len(users), padding)
        return self.value(segment_sums(weights, table, item, crow))

    def query(self, users: Tensor, left_out: Tensor | None = None) -> Tensor:
        """Returns the mixed user vectors, scaled to length 1, shape (B, D)."""
        own = self.user_embedding(users)
        if self.gamma < 1:
            own = self.gamma * own + (1 - self.gamma) * self.aggregate(users, left_out)
        return unit(own)

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the vectors for evaluation, with whole histories."""
        everyone = torch.arange(self.n_users, device=self.user_embedding.weight.device)
        return self.query(everyone), unit(self.item_embedding.weight)

    def tables(self) -> list[Tensor]:
        """Returns the tables, with the histories' table if it is separate."""
        own = getattr(self, "history_embedding", None)
        return [*super().tables(), *([] if own is None else [own.weight])]
