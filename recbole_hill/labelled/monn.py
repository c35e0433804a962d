"""MoNN, and the two-tower model from which it is extended.

References:
    "Hierarchical Structured Neural Network: Efficient Retrieval Scaling for Large Scale
    Recommendation." arXiv 2408.06653, 2024, section 2.
"""

import torch
from torch import Tensor

from recbole_hill.data.fields import Encoded
from recbole_hill.data.ids import Ids
from recbole_hill.index.em import EMLearner, check_sizes
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.learners import Vectors
from recbole_hill.labelled.model import LabelledModel, grid_logits
from recbole_hill.labelled.search import BLOCK_PAIRS
from recbole_hill.labelled.towers.block import MoNNBlock
from recbole_hill.labelled.towers.sizes import size_of
from recbole_hill.retrieval.beam import BeamRetriever
from recbole_hill.retrieval.exact import ExactRetriever
from recbole_hill.retrieval.vector_search import VectorSearch
from recbole_hill.retrieval.widths import beam_widths


class MoNN(LabelledModel):
    """User, item and interaction towers under an over-arch, for every <user, item> pair.

    Settings: ``monn_size`` (XS, S, M, L, XL) and the settings of
    :class:`~recbole_hill.labelled.model.LabelledModel`.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.block = MoNNBlock(
            self.data,
            size_of(config["monn_size"], config["monn_scale"]),
            len(self.tasks),
            config["embedding_size"],
            config["overarch"],
            config["dropout_prob"],
        )
        self.block.start_at(self.data.base_rates)
        self._item_vectors: Tensor | None = None

    def pair_logits(
        self, users: Tensor, items: Tensor, context: Encoded, left_out: Tensor | None
    ) -> Tensor:
        """Returns the logits of B pairs from the four modules, shape (B, T)."""
        return self.row_logits(users, items, self.item_embeddings(items), context, left_out)

    def item_embeddings(self, items: Tensor) -> Tensor:
        """Returns the item tower's output for item ids (B,), differentiable, shape (B, D)."""
        return self.block.item(items).flatten(1)

    def row_logits(
        self,
        users: Tensor,
        items: Tensor,
        vectors: Tensor,
        context: Encoded,
        left_out: Tensor | None,
    ) -> Tensor:
        """Returns the logits of B pairs whose items, or index nodes, have the given vectors.

        Args:
            users: User ids, shape (B,).
            items: Item ids whose features the interaction tower sees, shape (B,). For a node it is
                the node's representative item.
            vectors: Vectors in the place of the item tower's output, shape (B, D).
            context: Features of the B impressions.
            left_out: See :meth:`pair_logits`.

        Returns:
            Logits of T tasks, shape (B, T).
        """
        users, items = users.cpu(), items.cpu()
        left_out = None if left_out is None else left_out.cpu()
        of_items = vectors.view(len(vectors), *self.item_shape)
        of_users = self.block.user(users, left_out)
        return self.block.judge(users, items, of_users, of_items, context, left_out)[0]

    @property
    def item_shape(self) -> tuple[int, int]:
        """The number of an item's embeddings, and their width."""
        return self.block.size.item.embeddings, self.block.size.item.dim

    def all_logits(self, users: Tensor) -> Tensor:
        """Returns the first task's logits of every item, shape (b, I + 1).

        User embeddings are computed once per call; item embeddings are kept between calls.
        """
        user_vectors = self.block.user(users)
        parts = []
        step = max(1, BLOCK_PAIRS // len(users))
        for items in torch.arange(self.n_items).split(step):
            items = items.expand(len(users), -1)
            vectors = self.item_vectors()[items]
            parts.append(grid_logits(self.block, users, user_vectors, items, vectors)[:, :, 0])
        return torch.cat(parts, 1)

    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        """Returns every item's embeddings, computed once after training stops.

        Returns:
            Shape (I + 1, num_embed, dim), by item id.
        """
        if self._item_vectors is None or self.training:
            self._item_vectors = self.block.item(torch.arange(self.n_items))
        return self._item_vectors

    def networks(self) -> list[MoNNBlock]:
        """Returns the one network."""
        return [self.block]

    def kept(self) -> list[Tensor]:
        """Returns the items' embeddings."""
        return [self.item_vectors()]

    def forget(self) -> None:
        """Drops the items' embeddings."""
        self._item_vectors = None


class TTSN(MoNN):
    """Two towers that meet in one inner product: MoNN of size XS (Two Tower, HSNN, Table 1).

    Its vectors can be searched, so that ``recommend`` and ``export`` serve it like any embedding
    model.
    """

    def __init__(self, config, dataset):
        if config["monn_size"] != "XS":
            raise ValueError(
                f"TTSN is MoNN of size XS; monn_size={config['monn_size']} is --model=MoNN"
            )
        super().__init__(config, dataset)

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns user and item vectors whose inner products rank the items for the first task.

        Returns:
            Shapes (U + 1, D) and (I + 1, D), padding row first.
        """
        users = self.user_vectors(torch.arange(self.n_users))
        return users, self.block.item(torch.arange(self.n_items)).flatten(1)

    def user_vectors(self, users: Tensor) -> Tensor:
        """Returns the vectors of users with ids (B,), shape (B, D)."""
        vectors = self.block.user(users).flatten(1)
        return vectors * self.block.scale[0] / vectors.shape[1] ** 0.5

    @torch.no_grad()
    def index_vectors(self) -> Tensor:
        """Returns the item vectors that are searched, without padding, shape (I, D)."""
        return self.item_vectors().flatten(1)[1:].cpu()

    def searcher(self, full: bool = False) -> VectorSearch:
        """Returns an exact search over the vectors of the served items."""
        rows = self.alive_rows
        return VectorSearch(self.user_vectors, ExactRetriever(self.index_vectors()[rows], rows + 1))


class EBR(TTSN):
    """TTSN with an approximate index (EBR, HSNN, Table 1): a beam search over k-means nodes.

    Settings: ``nodes_per_depth``, ``beam_width``, and the settings of :class:`TTSN`.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.nodes = check_sizes(config["nodes_per_depth"], "bottom_up", self.n_items - 1)
        self.width = config["beam_width"]
        beam_widths(self.width, self.nodes)
        self.seed, self.tokens = config["seed"], Ids.of(dataset).items
        self._index: HierarchicalIndex | None = None

    @property
    def index(self) -> HierarchicalIndex:
        """The nodes over the served items, clustered once after training stops."""
        if self._index is None or self.training:
            rows = self.alive_rows
            vectors, tokens = self.index_vectors()[rows].numpy(), self.tokens[rows.numpy()]
            learner = EMLearner(self.nodes, seed=self.seed)
            self._index = learner.learn(Vectors(None, vectors), tokens)
        return self._index

    def searcher(self, full: bool = False) -> VectorSearch:
        """Returns a beam search over the nodes; with every node kept if ``full``."""
        rows, width = self.alive_rows, "full" if full else self.width
        items = self.index_vectors()[rows]
        retriever = BeamRetriever(self.index, items, rows + 1, beam_width=width)
        return VectorSearch(self.user_vectors, retriever)

    def layer_sizes(self) -> list[int]:
        """Returns I_1, the number of the coarsest nodes; the paper counts only these (Table 1)."""
        return [self.index.nodes_per_depth[-1]]

    def kept(self) -> list[Tensor]:
        """Returns the embeddings of items and nodes."""
        return [self.index_vectors(), *(torch.tensor(part) for part in self.index.vectors)]

    def forget(self) -> None:
        """Drops the items' embeddings and the index."""
        super().forget()
        self._index = None
