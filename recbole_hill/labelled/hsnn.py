"""HSNN: networks of falling size on the layers of a hierarchical index, learnt together with it.

The layers are numbered from the coarsest, as in the paper. The depths of the index count from the
items: depth 0 is the items, depth L the coarsest nodes.

References:
    "Hierarchical Structured Neural Network: Efficient Retrieval Scaling for Large Scale
    Recommendation." arXiv 2408.06653, 2024, section 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from recbole_hill import registry
from recbole_hill.checks import is_integer
from recbole_hill.data.fields import Encoded
from recbole_hill.data.ids import Ids
from recbole_hill.index.attention import nearest_nodes
from recbole_hill.index.codes import tree_of_nodes
from recbole_hill.index.em import EMLearner
from recbole_hill.index.gradient import JointLearner, SeparateLearner
from recbole_hill.index.hierarchy import HierarchicalIndex
from recbole_hill.index.learners import Vectors
from recbole_hill.index.lti import LearnedIndex
from recbole_hill.index.schedules import Schedule
from recbole_hill.labelled.model import LabelledModel, grid_logits
from recbole_hill.labelled.search import BLOCK_PAIRS, LayeredSearch
from recbole_hill.labelled.towers.block import MoNNBlock
from recbole_hill.labelled.towers.sizes import Size, size_of
from recbole_hill.retrieval.widths import beam_widths


@dataclass(frozen=True)
class Tables:
    """Index and embeddings of a trained model, which serving keeps.

    Attributes:
        index: Tree over the served items, in ascending order of their ids.
        representatives: Item id of each node's representative item (the member item closest to the
            node), coarsest layer first, each (K,).
        node_of_item: Node of each item, coarsest layer first, each (I,), without padding.
        vectors: Embeddings of the nodes per layer, coarsest first, then of the items, without
            padding, each (K, num_embed, dim).
    """

    index: HierarchicalIndex
    representatives: list[Tensor]
    node_of_item: list[Tensor]
    vectors: list[Tensor]


class HSNN(LabelledModel):
    """N networks, coarse to fine: the last one scores items, all others score index nodes.

    A node layer sees a node as the features of the node's representative item plus an embedding. In
    training, this embedding is the pseudo item that attention makes of the nodes for the item (LTI,
    Algorithm 1). In serving, it is the node's own embedding. The interaction tower of a node layer
    sees the embeddings of the user and of the node, and the features that both share. An auxiliary
    loss draws its output to the output of the item layer's tower (section 3.2.3).

    A layer's linear ensemble weighs the logits of the layer and of the layers above; its bias
    calibrates the sum. Each layer has a supervised loss (Eq. 4). By default (``layer_loss: own``)
    this is the loss of the network's own logits; the ensemble is fitted beside it, without moving
    the networks. With ``layer_loss: ensemble`` the networks learn through the ensemble. A layer
    then learns the errors that the layers above leave on rows to which they are already fitted.

    In joint learning the index follows the item layer's embeddings, and the item layer's own loss
    moves these embeddings (section 3.2.3, gradient flow). The nodes learn from the losses of the
    node layers. By default (``index_gradient``) no gradient flows back through the attention into
    the item embeddings. Where an item lies between two nodes, the attention at its final
    temperature multiplies a gradient by up to a thousand (twice alpha); this noise drowns the item
    layer's gradient.

    Settings: ``hsnn_layers`` (sizes and numbers of nodes, coarsest first; the last layer is the
    item layer), ``index_learning`` (``joint`` | ``em`` | ``separate``), ``index_direction``,
    ``index_alpha``, ``index_alpha_power``, ``index_epochs``, ``index_warmup_epochs``,
    ``index_weight``, ``index_balance``, ``index_balance_batches``, ``index_gradient``,
    ``index_start``, ``index_revive``, ``em_epochs``, ``item_epochs``, ``aux_weight``,
    ``layer_loss``, ``beam_width``, and the settings of
    :class:`~recbole_hill.labelled.model.LabelledModel`.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        sizes, nodes = layers_of(config["hsnn_layers"], config["monn_scale"], self.n_items - 1)
        direction = config["index_direction"]
        learner = registry.LEARNERS.find(config["index_learning"]).load()
        if learner.by_gradient and not issubclass(learner, JointLearner | SeparateLearner):
            raise ValueError(
                f"index_learning of {config['model']} must be joint, separate, or a learner that "
                f"is not by gradient, such as em; got {config['index_learning']}"
            )
        #: Whether the nodes are weights that learn with the networks.
        self.learns_nodes = learner.by_gradient and learner.with_backbone
        #: Whether the items are clustered again every ``em_epochs`` epochs, instead of once.
        self.clusters_again = not learner.by_gradient
        if not self.learns_nodes and direction != "bottom_up":
            raise ValueError(
                f"index_learning {config['index_learning']} builds bottom_up; index_direction "
                f"{direction} is for joint"
            )
        beam_widths(config["beam_width"], tuple(nodes))
        self.settings = config
        self.tokens = Ids.of(dataset).items
        n_tasks, dim = len(self.tasks), config["embedding_size"]
        arch, drop = config["overarch"], config["dropout_prob"]
        self.blocks = nn.ModuleList(
            MoNNBlock(self.data, size, n_tasks, dim, arch, drop, of_nodes=layer < len(nodes))
            for layer, size in enumerate(sizes)
        )
        for block in self.blocks:
            block.start_at(self.data.base_rates)
        self.mixtures = nn.ModuleList(
            _LinearEnsemble(layer + 1, n_tasks) for layer in range(len(sizes))
        )
        last = sizes[-1]
        self.clusterer = None
        if not self.learns_nodes:
            kind = learner if self.clusters_again else EMLearner
            self.clusterer = kind.from_settings(
                _for_clustering(config, nodes), n_items=self.n_items - 1, dim=None
            )
        self.learner = LearnedIndex(
            nodes[::-1],
            last.item.width,
            direction=direction,
            schedule=Schedule(config["index_alpha"], config["index_alpha_power"], 1, 0),
            balance_batches=config["index_balance_batches"],
            first_nodes=config["index_start"],
            revives=config["index_revive"],
        )
        self.adapters = nn.ModuleList(
            nn.Linear(last.item.width, size.item.width) for size in sizes[:-1]
        )
        self.matches = nn.ModuleList(
            nn.Linear(size.interaction.width, last.interaction.width)
            if size.interaction.width and last.interaction.width
            else None
            for size in sizes[:-1]
        )
        if not self.learns_nodes:
            for parameter in self.learner.nodes:
                parameter.requires_grad_(False)
        #: Node of each item at depths 1..L, for an index that is not learnt by gradient.
        self.register_buffer("codes", torch.zeros(len(nodes), self.n_items - 1, dtype=torch.int64))
        #: Whether there is an index. Without one, the item layer is trained alone.
        self.register_buffer("indexed", torch.zeros((), dtype=torch.bool))
        self._representative_of: Tensor | None = None
        self._tables: Tables | None = None

    @property
    def n_node_layers(self) -> int:
        """Number of node layers: N - 1, or L, the depth of the index."""
        return len(self.blocks) - 1

    # -- training -------------------------------------------------------------------------------

    def item_layer_loss(self, interaction) -> Tensor:
        """Returns the loss of the item layer alone, for training before there is an index."""
        self.indexed.fill_(False)
        return self.calculate_loss(interaction)

    def loss_of(
        self, users: Tensor, items: Tensor, context: Encoded, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """Returns the supervised losses of all layers (Eq. 4), the index loss and auxiliary losses.

        The result is their sum. Before there is an index, it is the supervised loss of the item
        layer alone.

        Args: see :meth:`LabelledModel.loss_of`.
        """
        users, items = users.cpu(), items.cpu()
        of_item, item_interaction, vectors = self._item_layer(users, items, context, items)
        if not self.indexed:
            return self.cross_entropy(of_item, labels, weights)
        pseudo, index_loss = self._pseudo_items(items, vectors.flatten(1))
        loss, per_layer = self.settings["index_weight"] * index_loss, []
        for layer, block in enumerate(self.blocks[:-1]):
            depth = self.n_node_layers - layer
            representative = self._representative_of[depth - 1, items]
            of_users = block.user(users, items)
            added = self.adapters[layer](pseudo[depth - 1])
            of_nodes = block.item(representative) + added.view(len(items), *_shape(block.size))
            logits, interaction = block.judge(
                users, representative, of_users, of_nodes, context, items
            )
            per_layer.append(logits)
            loss = loss + self._layer_loss(layer, per_layer, labels, weights)
            if self.matches[layer] is not None:
                matched = self.matches[layer](interaction.flatten(1))
                target = item_interaction.detach().flatten(1)
                loss = loss + self.settings["aux_weight"] * mse_loss(matched, target)
        per_layer.append(of_item)
        return loss + self._layer_loss(self.n_node_layers, per_layer, labels, weights)

    def _layer_loss(
        self, layer: int, per_layer: Sequence[Tensor], labels: Tensor, weights: Tensor
    ) -> Tensor:
        """Returns a layer's supervised loss, given the logits of layers 0..layer, each (B, T)."""
        if self.settings["layer_loss"] == "ensemble":
            return self.cross_entropy(self.ensemble(layer, per_layer), labels, weights)
        at_rest = [logits.detach() for logits in per_layer]
        fit = self.cross_entropy(self.ensemble(layer, at_rest), labels, weights)
        return self.cross_entropy(per_layer[-1], labels, weights) + fit

    def _item_layer(
        self, users: Tensor, items: Tensor, context: Encoded, left_out: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Returns the item layer's logits, interaction embeddings and item embeddings."""
        block = self.blocks[-1]
        of_users, of_items = block.user(users, left_out), block.item(items)
        return *block.judge(users, items, of_users, of_items, context, left_out), of_items

    def _pseudo_items(self, items: Tensor, vectors: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Returns the items' pseudo items at depths 1..L, and the index loss.

        If the nodes are not learnt by gradient, the vectors of each item's nodes take the place of
        the pseudo items.
        """
        if not self.learns_nodes:
            codes = self.codes[:, (items - 1).to(self.codes.device)]
            nodes = zip(self.learner.nodes, codes, strict=True)
            return [book[code] for book, code in nodes], vectors.new_zeros(())
        weight, kept = self.learner.weight(), self.settings["index_gradient"]
        # The vectors do not change; only a share of their gradient flows on to the items.
        learnt = self.learner(kept * vectors + (1 - kept) * vectors.detach())
        balance = self.settings["index_balance"] * learnt.balance
        return learnt.at_depth, weight * (learnt.reconstruction + balance)

    def ensemble(self, layer: int, per_layer: Sequence[Tensor]) -> Tensor:
        """Returns the logits of a layer's ensemble.

        Args:
            layer: Number of the layer, 0 for the coarsest.
            per_layer: Logits of layers 0..layer, each (..., T).

        Returns:
            Shape (..., T).
        """
        return self.mixtures[layer](per_layer)

    # -- the index ------------------------------------------------------------------------------

    def start_index(self, steps_per_epoch: int) -> None:
        """Makes the first index from the current item embeddings, and sets the schedules.

        Args:
            steps_per_epoch: Number of training steps in an epoch.
        """
        config = self.settings
        vectors = self.index_vectors()
        if self.learns_nodes:
            self.learner.schedule = Schedule(
                config["index_alpha"],
                config["index_alpha_power"],
                round(config["index_epochs"] * steps_per_epoch),
                round(config["index_warmup_epochs"] * steps_per_epoch),
            )
            if not bool(self.learner.started):
                self.learner.start(vectors[self.alive_rows], seed=config["seed"])
        elif self.clusters_again or not bool(self.indexed):  # a stream clusters at every slice
            self._cluster(vectors)
        self.indexed.fill_(True)
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        """Moves unused nodes or clusters again, then looks up each node's representative item.

        Nodes that were never trained stay: they are as ``index_start`` made them.

        Args:
            epoch: Number of the epoch, from 0.
        """
        if not self.indexed:
            return
        vectors = self.index_vectors()
        if self.learns_nodes:
            if self.learner.revives and self.learner.step:
                self.learner.revive(vectors[self.alive_rows])
        elif self.clusters_again and epoch and epoch % self.settings["em_epochs"] == 0:
            self._cluster(vectors)
        index = self._published(vectors)
        pairs = zip(self._representatives(index), self._nodes_of(index, vectors), strict=True)
        rows = torch.stack([representatives[node] for representatives, node in pairs])
        padding = torch.zeros(len(rows), 1, dtype=torch.int64)
        self._representative_of = torch.cat((padding, rows), 1)  # (L, I + 1)

    def serve(self, items: Tensor) -> None:
        """Restricts the lists to the given items; k-means puts new items under their nearest nodes.

        Args:
            items: Item ids, shape (N,).
        """
        before = self.alive.clone()
        super().serve(items)
        if not self.learns_nodes and bool(self.indexed):
            self._place(self.index_vectors(), self.alive & ~before)

    @torch.no_grad()
    def _place(self, vectors: Tensor, new: Tensor) -> None:
        """Puts items under their nearest nodes of the last clustering.

        Args:
            vectors: Vectors of all items, shape (I, D).
            new: Mask of the items over item ids, shape (I + 1,).
        """
        rows, tree = new[1:].nonzero().squeeze(1), self.codes.clone()  # all items, served or not
        node = nearest_nodes(vectors[rows], self.learner.nodes[0].data)
        self.codes[0, rows] = node
        for depth, (below, above) in enumerate(pairwise(tree), start=1):
            parents = tree.new_zeros(self.learner.sizes[depth - 1])
            parents[below] = above
            node = parents[node]
            self.codes[depth, rows] = node

    @torch.no_grad()
    def index_vectors(self) -> Tensor:
        """Returns the vectors that the index is over: the item layer's item embeddings, (I, D).

        They are computed without dropout, in training as in serving.
        """
        tower, items = self.blocks[-1].item, torch.arange(1, self.n_items)
        mode = tower.training
        tower.eval()
        parts = [tower(part).flatten(1) for part in items.split(BLOCK_PAIRS)]
        tower.train(mode)
        return torch.cat(parts)

    def _cluster(self, vectors: Tensor) -> None:
        rows = self.alive_rows
        alive = Vectors(None, vectors[rows].cpu().numpy())
        index = self.clusterer.learn(alive, self.tokens[rows.numpy()])
        for depth, of_items in enumerate(self._nodes_of(index, vectors)):
            self.codes[depth] = of_items
            self.learner.nodes[depth].data.copy_(torch.from_numpy(index.vectors[depth]))

    def _representatives(self, index: HierarchicalIndex) -> list[Tensor]:
        """Returns the item id of each node's representative item, depths 1..L, each (K,)."""
        return [self.alive_rows[torch.tensor(part)] + 1 for part in index.representatives]

    def _nodes_of(self, index: HierarchicalIndex, vectors: Tensor) -> list[Tensor]:
        """Returns the node of every item in an index over the served items, depths 1..L, each (I,).

        An item that is not served gets the nearest node. No list contains such an item, but a row
        to score may.
        """
        node, gone = torch.zeros(len(vectors), dtype=torch.int64), ~self.alive[1:].cpu()
        node[~gone] = torch.tensor(index.assignments(1))
        if gone.any():
            nodes = torch.tensor(index.vectors[0], device=vectors.device)
            node[gone] = nearest_nodes(vectors[gone.to(vectors.device)], nodes).cpu()
        levels = [node]
        for parents in index.parents[1:]:
            levels.append(torch.tensor(parents)[levels[-1]])
        return levels

    def _published(self, vectors: Tensor) -> HierarchicalIndex:
        """Returns the index over the served items.

        Args:
            vectors: Vectors of all items, shape (I, D).
        """
        rows = self.alive_rows
        tokens, vectors = self.tokens[rows.numpy()], vectors[rows]
        if self.learns_nodes:
            return self.learner.publish(tokens, vectors)
        codes = self.codes.cpu().numpy()[:, rows.numpy()]
        books = [book.detach().cpu().numpy() for book in self.learner.nodes]
        return tree_of_nodes(tokens, codes, books, vectors.cpu().numpy())

    # -- serving --------------------------------------------------------------------------------

    @torch.no_grad()
    def tables(self) -> Tables:
        """Returns index and embeddings of nodes and items, computed once after training stops."""
        if self._tables is None or self.training:
            vectors = self.index_vectors()
            index = self._published(vectors)
            depths = range(index.depth, 0, -1)
            representatives = self._representatives(index)[::-1]
            embeddings = []
            for layer, (depth, representative) in enumerate(
                zip(depths, representatives, strict=True)
            ):
                nodes = torch.from_numpy(index.vectors[depth - 1].copy()).to(vectors.device)
                block = self.blocks[layer]
                added = self.adapters[layer](nodes).view(len(nodes), *_shape(block.size))
                embeddings.append(block.item(representative) + added)
            embeddings.append(vectors.view(len(vectors), *_shape(self.blocks[-1].size)))
            of_item = self._nodes_of(index, vectors)[::-1]
            self._tables = Tables(index, representatives, of_item, embeddings)
        return self._tables

    @property
    def index(self) -> HierarchicalIndex | None:
        """The current index; None before there is one."""
        return self.tables().index if bool(self.indexed) else None

    def user_vectors_of_layers(self, users: Tensor) -> list[Tensor]:
        """Returns the embeddings of users (b,) by each layer's user tower, coarsest layer first."""
        return [block.user(users) for block in self.blocks]

    def layer_logits(self, layer: int, users: Tensor, vectors: Tensor, nodes: Tensor) -> Tensor:
        """Returns a layer's logits for each user paired with a list of nodes (or items).

        Args:
            layer: Number of the layer, 0 for the coarsest.
            users: User ids, shape (b,).
            vectors: Embeddings of the users by the layer's user tower, shape (b, num_embed, dim).
            nodes: Nodes of the layer, or item rows, C per user, shape (b, C).

        Returns:
            Logits of T tasks, shape (b, C, T).
        """
        tables = self.tables()
        of_nodes = tables.vectors[layer][nodes.to(tables.vectors[layer].device)]
        of_layer = layer < self.n_node_layers
        items = tables.representatives[layer][nodes] if of_layer else nodes + 1
        return grid_logits(self.blocks[layer], users, vectors, items, of_nodes)

    def all_logits(self, users: Tensor) -> Tensor:
        """Returns the first task's logits of every item, shape (b, I + 1).

        Each layer's network scores all nodes of the layer; no node is left out.
        """
        tables, per_layer = self.tables(), []
        for layer, block in enumerate(self.blocks):
            if not self.indexed and layer < self.n_node_layers:
                continue
            vectors, n_nodes = block.user(users), len(tables.vectors[layer])
            nodes = torch.arange(n_nodes).split(max(1, BLOCK_PAIRS // len(users)))
            parts = [
                self.layer_logits(layer, users, vectors, part.expand(len(users), -1))
                for part in nodes
            ]
            own = torch.cat(parts, 1)
            if layer < self.n_node_layers:
                own = own[:, tables.node_of_item[layer].to(own.device)]
            per_layer.append(own)
        scores = (
            self.ensemble(self.n_node_layers, per_layer) if len(per_layer) > 1 else per_layer[0]
        )
        padding = scores.new_full((len(users), 1), -torch.inf)
        return torch.cat((padding, scores[..., 0]), 1)

    def pair_logits(
        self, users: Tensor, items: Tensor, context: Encoded, left_out: Tensor | None
    ) -> Tensor:
        """Returns the logits of B pairs after the last layer, shape (B, T).

        The layers run as in serving, but with the context of the impressions.
        """
        return self.layer_judgements(users, items, context, left_out)[-1]

    def layer_judgements(
        self, users: Tensor, items: Tensor, context: Encoded, left_out: Tensor | None
    ) -> list[Tensor]:
        """Returns the ensembles' logits of B pairs after each layer, coarsest first, each (B, T).

        Before there is an index, the list contains the item layer's logits alone.
        """
        users, items = users.cpu(), items.cpu()
        left_out = None if left_out is None else left_out.cpu()
        of_item = self._item_layer(users, items, context, left_out)[0]
        if not self.indexed:
            return [of_item]
        tables, per_layer = self.tables(), []
        for layer, block in enumerate(self.blocks[:-1]):
            nodes = tables.node_of_item[layer][items - 1]
            of_users = block.user(users, left_out)
            of_nodes = tables.vectors[layer][nodes.to(tables.vectors[layer].device)]
            representative = tables.representatives[layer][nodes]
            per_layer.append(
                block.judge(users, representative, of_users, of_nodes, context, left_out)[0]
            )
        per_layer.append(of_item)
        return [self.ensemble(layer, per_layer[: layer + 1]) for layer in range(len(per_layer))]

    def networks(self) -> list[MoNNBlock]:
        """Returns the layers' networks, coarsest first."""
        return list(self.blocks)

    def layer_sizes(self) -> list[int]:
        """Returns the numbers of nodes I_1, I_2, ... and the number of items V (Table 1)."""
        return [*self.tables().index.nodes_per_depth[::-1], *super().layer_sizes()]

    def kept(self) -> list[Tensor]:
        """Returns the embeddings of nodes and items."""
        return self.tables().vectors

    def searcher(self, full: bool = False) -> LayeredSearch:
        """Returns the search of Algorithm 2; every node is kept if ``full``."""
        return LayeredSearch(self, "full" if full else self.settings["beam_width"])

    def forget(self) -> None:
        """Drops the tables."""
        self._tables = None


class _LinearEnsemble(nn.Module):
    """The linear ensemble: one weight per layer and task, and one bias per task.

    At the start, its output is the logits of the last layer.
    """

    def __init__(self, n_layers: int, n_tasks: int):
        super().__init__()
        of_layers = torch.arange(n_layers) == n_layers - 1
        self.weights = nn.Parameter(of_layers.float().unsqueeze(1).repeat(1, n_tasks))
        self.bias = nn.Parameter(torch.zeros(n_tasks))

    def forward(self, per_layer: Sequence[Tensor]) -> Tensor:
        parts = zip(per_layer, self.weights, strict=True)
        return sum(logits * weight for logits, weight in parts) + self.bias


def layers_of(given, scale: float, n_items: int) -> tuple[list[Size], list[int]]:
    """Reads ``hsnn_layers``.

    Args:
        given: List such as ``[{size: L, nodes: 1000}, {size: S}]``, coarsest first; the last layer
            is the item layer and has no ``nodes``.
        scale: See :func:`~recbole_hill.labelled.towers.sizes.size_of`.
        n_items: I.

    Returns:
        The size of every layer, and the number of nodes of every node layer.

    Raises:
        ValueError: If an entry does not fit. The message names the layer and what is accepted.
    """
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) < 2:
        raise ValueError(
            f"hsnn_layers must list at least two layers, such as "
            f"[{{size: L, nodes: 1000}}, {{size: S}}], got {given!r}"
        )
    nodes = []
    for number, layer in enumerate(given, start=1):
        last = number == len(given)
        keys = {"size"} if last else {"size", "nodes"}
        if not isinstance(layer, Mapping) or set(layer) != keys:
            raise ValueError(
                f"hsnn_layers: layer {number} must have {' and '.join(sorted(keys))}, got {layer!r}"
            )
        if last:
            break
        count = layer["nodes"]
        if not is_integer(count) or not 1 <= count <= n_items:
            raise ValueError(
                f"hsnn_layers: nodes of layer {number} must be in 1..{n_items}, got {count!r}"
            )
        if nodes and count < nodes[-1]:
            raise ValueError(
                f"hsnn_layers: layers go from coarse to fine, got {count} nodes below {nodes[-1]}"
            )
        nodes.append(count)
    return [size_of(layer["size"], scale) for layer in given], nodes


def _for_clustering(config, nodes: Sequence[int]) -> dict:
    """Returns the settings of the learner that clusters the items into the nodes of the layers."""
    clustering = {"nodes_per_depth": nodes[::-1], "index_direction": "bottom_up"}
    clustering |= {"index_metric": "items", "em_rounds": 0, "show_progress": False}
    return {**config.final_config_dict, **clustering}


def _shape(size: Size) -> tuple[int, int]:
    return size.item.embeddings, size.item.dim
