"""HILL over a model of labelled impressions: MoNN or two towers, an index, and training on nodes.

Figure 1 of arXiv 2604.12965: a MoNN, the index over its items, and test-time training on its nodes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor, nn
from torch.nn.functional import softplus

from recbole_hill import registry
from recbole_hill.data.fields import Encoded
from recbole_hill.data.impressions import Impressions
from recbole_hill.data.tasks import Task, label_matrix
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.labelled.model import LabelledModel
from recbole_hill.labelled.node_layers import NodeLayers
from recbole_hill.labelled.search import LayeredSearch, NetworkSearch
from recbole_hill.labelled.towers.block import MoNNBlock
from recbole_hill.model.indexed import EM_WEIGHT, IndexedModel
from recbole_hill.model.settings import HillSettings
from recbole_hill.retrieval.choose import choose_retriever
from recbole_hill.retrieval.vector_search import VectorSearch

#: The settings that take fewer values here than over a backbone of pairs: these values, and why.
_ACCEPTED = {
    "pair_form": (("loss",), "a pair is a row beside the batch, and nothing else"),
    "pair_loss": (("backbone",), "its loss is of a row with labels, not of two items"),
    "adapt_control": (
        ("continue", "random_nodes", "random_users"),
        "a user's vector depends on the item that the user's history leaves out",
    ),
    "warm_start": ((None, ""), "its tables are by the features' values"),
}
#: The same, over a network whose score is no inner product.
_ACCEPTED_OF_NETWORKS = {
    "index_metric": (("items",), "its scores are no inner products"),
    "retrieval": (("exact", "beam"), "its scores are no inner products"),
    "node_score": (("mean",), "the network itself scores the nodes"),
}


class LabelledHILL(IndexedModel, LabelledModel):
    """A labelled model with an index over its item vectors; it takes HILL's place over such models.

    An index node is a row's item like any other. The interaction tower sees the features of the
    node's representative item (the member item that is closest to the node). In the place of the
    item tower's output stands the node's vector, which ``node_vectors`` names.

    - A <user, node> pair is a row whose first label is 1. It has no other labels and no context.
      Its user's history leaves out the representative item, as that of a row leaves out its item.
    - The M-step of EM repeats the rows of a batch at every depth, with the node above the item in
      the item's place.
    - Learning by gradient puts the pseudo items in the items' place, beside the features of the
      items themselves.

    The backbone's own search makes the lists. Beam search goes down the index: by inner products
    with the nodes over two towers, and by the network's scores of the nodes over other models.

    Settings: HILL's and the backbone's.
    """

    def __init__(self, config, dataset):
        AbstractRecommender.__init__(self)  # what LabelledModel makes is the backbone's
        self.require_settings(config)
        self.backbone = registry.find(config["backbone"]).load()(config, dataset)
        for name in ("USER_ID", "ITEM_ID", "device", "n_users", "n_items"):
            setattr(self, name, getattr(self.backbone, name))
        self.settings = HillSettings.from_config(config, n_items=self.n_items - 1)
        self._add_index(config)
        self._layers: NodeLayers | None = None

    @classmethod
    def require_settings(cls, config) -> None:
        """Refuses what does not compose with a labelled backbone, before the data are loaded.

        Raises:
            ValueError: Naming the setting, and what is accepted.
        """
        name = config["backbone"]
        backbone = registry.find(name).load()
        lacks = "an index of its own" if hasattr(backbone, "index") else None
        if lacks or not hasattr(backbone, "row_logits"):
            raise ValueError(
                f"backbone {name} has {lacks or 'no row_logits for vectors of nodes'}; of the "
                "models of labels HILL accepts TTSN and MoNN"
            )
        of_vectors = hasattr(backbone, "user_vectors")
        limits = _ACCEPTED if of_vectors else _ACCEPTED | _ACCEPTED_OF_NETWORKS
        for key, (accepted, why) in limits.items():
            given = config[key]
            for value in given if isinstance(given, list | tuple) else [given]:
                if value not in accepted:
                    some = ", ".join(str(one) for one in accepted if one) or "none"
                    raise ValueError(
                        f"{key} {value} does not fit backbone {name}, which learns from labels: "
                        f"{why}; accepted is {some}"
                    )

    def _dim(self) -> int:
        return self.backbone.item_embeddings(torch.zeros(1, dtype=torch.int64)).shape[1]

    # -- what is the backbone's -----------------------------------------------------------------

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The backbone's tasks."""
        return self.backbone.tasks

    @property
    def data(self) -> Impressions:
        """The backbone's features and histories."""
        return self.backbone.data

    @property
    def alive(self) -> Tensor:
        """Whether a list may contain an item, by item id."""
        return self.backbone.alive

    @property
    def task_weights(self) -> Tensor:
        """The weights of the tasks, shape (T,)."""
        return self.backbone.task_weights

    @property
    def user_item_embeddings(self) -> Callable[[], tuple[Tensor, Tensor]]:
        """The backbone's function; HILL has the attribute only if the backbone has it."""
        return self.backbone.user_item_embeddings

    def pair_logits(
        self, users: Tensor, items: Tensor, context: Encoded, left_out: Tensor | None
    ) -> Tensor:
        """Returns the backbone's logits of B pairs, shape (B, T)."""
        return self.backbone.pair_logits(users, items, context, left_out)

    def all_logits(self, users: Tensor) -> Tensor:
        """Returns the backbone's logits of every item for the first task, shape (b, I + 1)."""
        return self.backbone.all_logits(users)

    @torch.no_grad()
    def vectors(self) -> tuple[Tensor | None, Tensor]:
        """Returns user vectors (U + 1, D) or None, and item vectors (I + 1, D)."""
        users = None
        if self._is_of_vectors:
            users = self.backbone.user_vectors(torch.arange(self.n_users))
        return users, self.backbone.item_vectors().flatten(1)

    @property
    def _is_of_vectors(self) -> bool:
        """Whether the backbone's score is an inner product of a user's and an item's vector."""
        return hasattr(self.backbone, "user_vectors")

    # -- training -------------------------------------------------------------------------------

    def calculate_loss(self, interaction) -> Tensor:
        """Returns the backbone's loss, plus the index loss if the nodes learn with the backbone."""
        loss = self.backbone_loss(interaction)
        if not (self.learns_index_with_backbone and self.learner.started):
            return loss
        return loss + self._index_loss(interaction, self.backbone.item_embeddings)

    def batch_weight(self, interaction) -> int:
        """Returns the weight of HILL's mean losses: 1, because the backbone's loss is a mean."""
        return 1

    def index_loss(self, users: Tensor | None, items: Tensor, interaction) -> Tensor:
        """Returns the index's loss on a batch, from which the nodes alone learn.

        Args:
            users: User vectors; not used, because a row's history depends on its item.
            items: Item vectors with the padding row, shape (I + 1, D).
            interaction: RecBole batch.
        """
        with _at_rest(self.backbone):
            return self._index_loss(interaction, items.__getitem__)

    def _index_loss(self, interaction, vectors_of: Callable[[Tensor], Tensor]) -> Tensor:
        """Returns the index's loss on the first ``index_batch`` rows of a batch."""
        rows = interaction[: self.learner.settings.index_batch]
        users, items = rows[self.USER_ID], rows[self.ITEM_ID]
        context = self.data.context_of(rows, len(users))
        present, place = torch.unique(items, return_inverse=True)

        def loss_of(pseudo: Tensor) -> Tensor:
            logits = self.backbone.row_logits(users, items, pseudo[place], context, items)
            return self._mean_loss(logits, rows)

        return self.learner.pseudo_loss(vectors_of(present), loss_of)

    def em_loss(self, interaction) -> Tensor:
        """Returns the loss of the M-step: the backbone's loss plus that of the nodes' rows."""
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        context = self.data.context_of(interaction, len(users))
        of_nodes = []
        for depth in range(1, self.index.depth + 1):
            node = self._rows_of(self.nodes.of_items(items, depth), depth)
            logits = self.backbone.row_logits(users, *node, context, items)
            of_nodes.append(self._mean_loss(logits, interaction))
        return self.backbone_loss(interaction) + EM_WEIGHT * torch.stack(of_nodes).mean()

    def _mean_loss(self, logits: Tensor, rows) -> Tensor:
        """Returns the mean multi-task loss of rows with their labels."""
        labels = label_matrix(rows, self.tasks).to(logits.device)
        return self.cross_entropy(logits, labels, logits.new_full((len(logits),), 1 / len(logits)))

    def loss_of_pairs(self, users: Tensor, nodes: Tensor, depth: int) -> Tensor:
        """Returns the loss of each <user, node> pair as a row whose first label is 1.

        Args:
            users: User ids, shape (B,).
            nodes: Node ids at ``depth``, shape (B,).
            depth: Depth of the nodes, from 1.

        Returns:
            The losses times the first task's weight, shape (B,).
        """
        representatives, vectors = self._rows_of(nodes, depth)
        context = self.data.context_of({}, len(users))
        logits = self.backbone.row_logits(users, representatives, vectors, context, representatives)
        return softplus(-logits[:, 0]) * self.task_weights[0]

    def _rows_of(self, nodes: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """Returns the representative item ids (B,) and the vectors (B, D) of nodes (B,)."""

        def vectors_of(items: Tensor) -> Tensor:
            present, place = torch.unique(items, return_inverse=True)
            return self.backbone.item_embeddings(present)[place]

        present, place = torch.unique(nodes, return_inverse=True)
        vectors = self.nodes.chosen(self.settings.node_vectors, present, depth, vectors_of)
        return self.nodes.representatives(depth)[nodes], vectors[place]

    # -- search ---------------------------------------------------------------------------------

    def searcher(self, full: bool = False) -> NetworkSearch | VectorSearch:
        """Returns the search that ``retrieval`` names; an exact search if ``full``."""
        return self.search_by("exact" if full else self.settings.retrieval)

    def search_by(self, name: str) -> NetworkSearch | VectorSearch:
        """Returns the search with a name of ``retrieval``, for users given by their ids."""
        if name == "exact":
            return self.backbone.searcher(full=True)
        width, score = self.settings.beam_width, self.settings.node_score
        if not self._is_of_vectors:
            return LayeredSearch(self.layers(), width[::-1])
        items = self.backbone.item_vectors().flatten(1).cpu()
        retriever = choose_retriever(name, items, self.index, beam_width=width, node_score=score)
        return VectorSearch(self.backbone.user_vectors, retriever)

    @property
    def _serves_by_layers(self) -> bool:
        """Whether the lists are made by the network's scores of the nodes."""
        return self.settings.retrieval != "exact" and not self._is_of_vectors

    def networks(self) -> list[MoNNBlock]:
        """Returns the one network, once for each layer that it scores in a request."""
        layers = self.index.depth + 1 if self._serves_by_layers else 1
        return self.backbone.networks() * layers

    def layer_sizes(self) -> list[int]:
        """Returns the numbers of nodes and items that a request scores if every node is kept."""
        if self.settings.retrieval == "exact":
            return self.backbone.layer_sizes()
        nodes = list(self.index.nodes_per_depth[::-1])
        return [*nodes, *super().layer_sizes()] if self._serves_by_layers else nodes[:1]

    def kept(self) -> list[Tensor]:
        """Returns the vectors of items and nodes that serving keeps."""
        if self._serves_by_layers:
            return self.layers().vectors
        nodes = [] if self.settings.retrieval == "exact" else self.index.vectors
        return [*self.backbone.kept(), *(torch.tensor(part) for part in nodes)]

    @torch.no_grad()
    def layers(self) -> NodeLayers:
        """Returns what the search by the network keeps, computed once after training stops."""
        if self._layers is None or self.training:
            shape, items, vectors = self.backbone.item_shape, [], []
            for depth in range(self.index.depth, 0, -1):
                every = torch.arange(self.nodes.count(depth), device=self.device)
                representatives, of_nodes = self._rows_of(every, depth)
                items.append(representatives.cpu())
                vectors.append(of_nodes.view(-1, *shape))
            items.append(torch.arange(1, self.n_items))
            vectors.append(self.backbone.item_vectors()[1:])
            self._layers = NodeLayers(self.backbone, self.index, items, vectors)
        return self._layers

    def set_index(self, index: HierarchicalIndex) -> None:
        """Sets the index; its nodes become rows of :meth:`em_loss` and of the pairs."""
        super().set_index(index)
        self.forget()

    def forget(self) -> None:
        """Drops the vectors kept for serving."""
        self.backbone.forget()
        self._layers = None


@contextmanager
def _at_rest(module: nn.Module) -> Iterator[None]:
    """Keeps gradients from a module's weights while a loss is computed."""
    learning = [weight for weight in module.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)
