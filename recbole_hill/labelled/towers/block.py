"""One Modular Neural Network: three towers under an over-arch; each tower can be called alone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recbole_hill.data.fields import Encoded
from recbole_hill.data.impressions import Impressions
from recbole_hill.data.inverted_index import DENSE, Shared
from recbole_hill.labelled.towers.overarch import OverArch
from recbole_hill.labelled.towers.sizes import Size
from recbole_hill.labelled.towers.tower import FieldEmbedding, Tower, feature_table


class UserTower(nn.Module):
    """Maps a user's features, and the items that the user engaged with, to the user's embeddings.

    Args:
        data: Features and history.
        size: Size of the network.
        dim: Width E of the field embeddings.
        dropout: Dropout rate of the tower.
    """

    def __init__(self, data: Impressions, size: Size, dim: int, dropout: float):
        super().__init__()
        self.data = data
        self.fields = FieldEmbedding(data.users, dim)
        self.engaged = feature_table(data.history.n_items, dim)
        self.tower = Tower(
            data.users.n_fields + 1, dim, size.user, size.layers, size.fields, dropout
        )

    def forward(self, users: Tensor, left_out: Tensor | None = None) -> Tensor:
        """Returns the embeddings of users.

        Args:
            users: User ids, shape (B,).
            left_out: Target item of each row, shape (B,), which the history leaves out; None for no
                target.

        Returns:
            Shape (B, num_embed, dim).
        """
        users, left_out = users.cpu(), None if left_out is None else left_out.cpu()
        fields = self.fields(self.data.user_features[users])
        return self.tower(torch.cat((fields, self._history(users, left_out)), 1))

    def _history(self, users: Tensor, left_out: Tensor | None) -> Tensor:
        """Returns the sum of the engaged items' vectors over the root of their count, (B, 1, E)."""
        history = self.data.history
        unique, place = users.unique(return_inverse=True)
        items, starts = history.of(unique)
        table = self.engaged.weight
        items, starts, place = (part.to(table.device) for part in (items, starts, place))
        sums = nn.functional.embedding_bag(items, table, starts, mode="sum")[place]
        lengths = history.lengths[users]
        if left_out is not None:
            was_engaged = history.holds(users, left_out)
            own = self.engaged(left_out.to(table.device))
            sums = sums - own * was_engaged.to(table.device).unsqueeze(1)
            lengths = lengths - was_engaged.long()
        roots = lengths.clamp_min(1).sqrt().to(table.device)
        return (sums / roots.unsqueeze(1)).unsqueeze(1)


class ItemTower(nn.Module):
    """Maps an item's features to the item's embeddings.

    Args:
        data: Features.
        size: Size of the network.
        dim: Width E of the field embeddings.
        dropout: Dropout rate of the tower.
    """

    def __init__(self, data: Impressions, size: Size, dim: int, dropout: float):
        super().__init__()
        self.data = data
        self.fields = FieldEmbedding(data.items, dim)
        self.tower = Tower(data.items.n_fields, dim, size.item, size.layers, size.fields, dropout)

    def forward(self, items: Tensor) -> Tensor:
        """Returns the embeddings of items (B,), shape (B, num_embed, dim)."""
        return self.tower(self.fields(self.data.item_features[items.cpu()]))


class InteractionTower(nn.Module):
    """Maps the values that a user and an item share, and the impression's context, to embeddings.

    Args:
        data: Features and inverted indices.
        size: Size of the network.
        dim: Width E of the field embeddings.
        dropout: Dropout rate of the tower.
        beside: Widths of further vectors; each is one more field.
    """

    def __init__(
        self,
        data: Impressions,
        size: Size,
        dim: int,
        dropout: float,
        beside: Sequence[int] = (),
    ):
        super().__init__()
        n_indices = len(data.indices)
        self.values = feature_table(data.items.vocabulary, dim)
        self.dense = nn.ModuleList(nn.Linear(DENSE, dim) for _ in range(n_indices))
        self.context = FieldEmbedding(data.context, dim)
        self.beside = nn.ModuleList(nn.Linear(width, dim) for width in beside)
        n_fields = 2 * n_indices + data.context.n_fields + len(self.beside)
        #: Whether the tower has a field.
        self.has_fields = n_fields > 0
        if self.has_fields:
            self.tower = Tower(n_fields, dim, size.interaction, size.layers, size.fields, dropout)
        self.part = size.interaction

    def forward(
        self, shared: Sequence[Shared], context: Encoded, beside: Sequence[Tensor] = ()
    ) -> Tensor:
        """Returns the embeddings of N pairs.

        Args:
            shared: Per inverted index the values that the pairs share, leading shape (N,).
            context: Features of N impressions.
            beside: Further vectors of b users and C pairs each, N = b C, each (b, 1 or C, width).

        Returns:
            Shape (N, num_embed, dim); 0 if the tower has no field.
        """
        device = self.values.weight.device
        if not self.has_fields:
            return torch.zeros(len(context), self.part.embeddings, self.part.dim, device=device)
        fields = [self.context(context)]
        for on_cpu, dense in zip(shared, self.dense, strict=True):
            one = on_cpu.to(device)
            weights = one.counts.log1p()
            total = 1 + weights.sum(1, keepdim=True)
            sparse = (self.values(one.values) * weights.unsqueeze(2)).sum(1) / total
            fields += [dense(one.dense()).unsqueeze(1), sparse.unsqueeze(1)]
        for vectors, map_ in zip(beside, self.beside, strict=True):
            mapped = map_(vectors).expand(-1, len(context) // len(vectors), -1)
            fields.append(mapped.flatten(0, 1).unsqueeze(1))
        return self.tower(torch.cat(fields, 1))


class MoNNBlock(nn.Module):
    """User, item and interaction tower under an over-arch; size XS is two towers and a dot product.

    Args:
        data: Features of the three sources.
        size: A size of Table 5, scaled.
        n_tasks: Number of tasks T.
        dim: Width E of the field embeddings.
        overarch: ``dhen`` | ``deepfm`` | ``wukong``.
        dropout: Dropout rate of the towers.
        of_nodes: Whether the items are index nodes. The interaction tower then also sees the user's
            and the node's embeddings (HSNN, section 3.2.3).
    """

    def __init__(
        self,
        data: Impressions,
        size: Size,
        n_tasks: int,
        dim: int,
        overarch: str,
        dropout: float = 0.0,
        of_nodes: bool = False,
    ):
        super().__init__()
        self.data, self.size, self.of_nodes = data, size, of_nodes
        self.user = UserTower(data, size, dim, dropout)
        self.item = ItemTower(data, size, dim, dropout)
        if size.is_dot_product:
            if size.user.width != size.item.width:
                raise ValueError(
                    f"a dot product needs users and items of one width, got {size.user.width} and "
                    f"{size.item.width}"
                )
            self.scale = nn.Parameter(torch.ones(n_tasks))
            self.bias = nn.Parameter(torch.zeros(n_tasks))
            return
        beside = (size.user.width, size.item.width) if of_nodes else ()
        self.interaction = InteractionTower(data, size, dim, dropout, beside)
        parts = (size.user, size.item, size.interaction)
        self.arch = OverArch(parts, n_tasks, overarch, size.layers, size.tokens)

    def interact(
        self, users: Tensor, items: Tensor, shared: Sequence[Shared], context: Encoded
    ) -> Tensor | None:
        """Returns the interaction tower's embeddings of users with C items each.

        Args:
            users: User embeddings, shape (b, num_embed, dim).
            items: Item embeddings, shape (b, C, num_embed, dim).
            shared: Per inverted index the values that the b * C pairs share.
            context: Features of the b * C impressions.

        Returns:
            Shape (b, C, num_embed, dim); None for a dot product.
        """
        if self.size.is_dot_product:
            return None
        beside = (users.flatten(1).unsqueeze(1), items.flatten(2)) if self.of_nodes else ()
        return self.interaction(shared, context, beside).unflatten(0, items.shape[:2])

    def logits(self, users: Tensor, items: Tensor, interactions: Tensor | None) -> Tensor:
        """Returns one logit per task for users with C items each.

        Args:
            users: Shape (b, num_embed, dim).
            items: Shape (b, C, num_embed, dim).
            interactions: The result of :meth:`interact`.

        Returns:
            Shape (b, C, T).
        """
        if self.size.is_dot_product:
            dots = items.flatten(2) @ users.flatten(1).unsqueeze(2)
            return dots / self.size.user.width**0.5 * self.scale + self.bias
        return self.arch((users, items, interactions))

    def judge(
        self,
        users: Tensor,
        items: Tensor,
        of_users: Tensor,
        of_items: Tensor,
        context: Encoded,
        left_out: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Runs the interaction tower and the over-arch on B pairs.

        Args:
            users: User ids, shape (B,), on the CPU.
            items: Item ids, shape (B,), on the CPU; for a node the id of its representative item,
                the item that represents it.
            of_users: The users' embeddings, shape (B, num_embed, dim).
            of_items: The items' (or nodes') embeddings, shape (B, num_embed, dim).
            context: Features of the B impressions.
            left_out: Item of each row whose engagement does not count, shape (B,), or None.

        Returns:
            Logits (B, T), and the interaction tower's embeddings, or None for a dot product.
        """
        shared = []
        if not self.size.is_dot_product:
            shared = [index.pairs(users, items, left_out) for index in self.data.indices]
        one_each = of_items.unsqueeze(1)
        interactions = self.interact(of_users, one_each, shared, context)
        logits = self.logits(of_users, one_each, interactions).squeeze(1)
        return logits, None if interactions is None else interactions.squeeze(1)

    @torch.no_grad()
    def start_at(self, base_rates: Tensor) -> None:
        """Sets the last bias so that the first predictions equal the base rates."""
        log_odds = torch.logit(base_rates.double()).float()
        if self.size.is_dot_product:
            self.bias.copy_(log_odds)
        else:
            network = self.arch.network
            (network.head if hasattr(network, "head") else network.first).bias.copy_(log_odds)
