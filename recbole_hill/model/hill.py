"""HILL: a backbone, the hierarchical index over its items, and training on index nodes.

Depth 1 of the index is the nodes just above the items, depth L the coarsest nodes.

Reference:
    "Efficient Retrieval Scaling with Hierarchical Indexing for Large Scale Recommendation." arXiv
    2604.12965, 2026. Index learning by gradient: sections 3.2 to 3.4; by EM: section 3.5; <user,
    node> pairs: section 3.6.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_hill import registry
from recbole_hill.data.graph import InteractionGraph
from recbole_hill.model.backbone import (
    loss_and_embeddings,
    sums_over_batch,
    user_item_embeddings,
)
from recbole_hill.model.bases.embedding import EmbeddingModel
from recbole_hill.model.indexed import EM_WEIGHT, IndexedModel
from recbole_hill.model.losses import bpr
from recbole_hill.model.settings import HillSettings

#: Names among the weights of the vectors that serve in place of the backbone's.
FIXED = ("fixed_users", "fixed_items")


class HILL(IndexedModel, EmbeddingModel):
    """A backbone with a hierarchical index, for retrieval and for training on index nodes.

    The model contains the backbone's weights, the index learner and, if the learner is by gradient,
    the nodes. The published index is a value that the stages of :mod:`recbole_hill.pipeline` set in
    the model.

    Over a backbone that learns from labels :class:`recbole_hill.labelled.hill.LabelledHILL` takes
    its place.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.settings = HillSettings.from_config(config, n_items=self.n_items - 1)
        for name in FIXED:
            self.register_buffer(name, None)
        self.require_settings(config)
        self.backbone = registry.find(config["backbone"]).load()(config, dataset)
        self._add_index(config)
        self._require_form()

    @classmethod
    def require_settings(cls, config) -> None:
        """Refuses a backbone that learns from other batches, before the data are loaded.

        Raises:
            ValueError: Naming the backbone, and what is accepted.
        """
        backbone = registry.find(config["backbone"]).load()
        if backbone.input_type != cls.input_type:
            raise ValueError(
                f"backbone {config['backbone']} trains on {backbone.input_type.name} batches; "
                f"{cls.__name__} needs {cls.input_type.name} ones, or, in a run of recbole_hill, a "
                "model of labels such as TTSN or MoNN"
            )

    def _require_form(self) -> None:
        """Checks that the backbone can learn from pairs in the form that ``pair_form`` names.

        Raises:
            ValueError: If it cannot. The message names the setting and what is accepted.
        """
        settings, name = self.settings, type(self.backbone).__name__
        if settings.pair_form != "loss" and hasattr(self.backbone, "fit_once"):
            raise ValueError(
                f"pair_form {settings.pair_form} needs a backbone that trains by epochs, and "
                f"{name} is fitted at once; accepted is loss"
            )
        graph = getattr(self.backbone, "graph", None)
        if settings.pairs_are_edges and not isinstance(graph, InteractionGraph):
            raise ValueError(
                f"pair_form {settings.pair_form} needs a backbone with this package's graph of "
                f"users and items, such as LightGCN-BSL or NESCL, and {name} has none; accepted "
                "are loss and rows"
            )
        if settings.vertices != "users" and not getattr(self.backbone, "edges_among_items", False):
            raise ValueError(
                f"vertices {settings.vertices} needs a backbone whose graph may have edges between "
                f"items, such as LightGCN-BSL or NESCL, and {name} is not one; accepted is users"
            )
        if settings.pair_loss == "backbone" and not self._has_loss_of_scores():
            raise ValueError(
                f"pair_loss backbone needs a backbone whose loss is of the scores of drawn items, "
                f"and {name}'s is not; accepted is bpr"
            )

    def _has_loss_of_scores(self) -> bool:
        """Whether the backbone's ``ranking_loss`` can take nodes in the place of items."""
        own = hasattr(self.backbone, "ranking_loss")
        by_popularity = getattr(self.backbone, "popularity", None) is not None
        return own and not by_popularity  # a node has no popularity

    @torch.no_grad()
    def _dim(self) -> int:
        """Returns D, which depends on several settings in some backbones."""
        return self.user_item_embeddings()[1].shape[1]

    @property
    def fit_once(self) -> Callable[[], None]:
        """The backbone's ``fit_once``; HILL has the attribute only if the backbone has it."""
        return self.backbone.fit_once

    def user_item_embeddings(self) -> tuple[Tensor, Tensor]:
        """Returns the vectors with the padding rows, (U + 1, D) and (I + 1, D).

        They are the backbone's, or the fixed ones, if the weights have any. Test-time training with
        virtual items ends with fixed vectors: without those items the backbone makes others.
        """
        if self.fixed_users is not None:
            return self.fixed_users, self.fixed_items
        return user_item_embeddings(self.backbone)

    def load_state_dict(self, state_dict, *args, **kwargs):
        """Loads weights with or without fixed vectors."""
        for name in FIXED:
            value = state_dict.get(name)
            setattr(self, name, None if value is None else value.to(self.device, copy=True))
        return super().load_state_dict(state_dict, *args, **kwargs)

    def calculate_loss(self, interaction) -> Tensor | tuple[Tensor, ...]:
        """Returns the backbone's loss, plus the index loss if the nodes learn with the backbone."""
        if not (self.learns_index_with_backbone and self.learner.started):
            return self.backbone.calculate_loss(interaction)
        loss, users, items = self.loss_and_vectors(interaction)
        index_loss = self.index_loss(users, items, interaction)
        return loss + self.batch_weight(interaction) * index_loss

    def batch_weight(self, interaction) -> int:
        """Returns the weight of HILL's mean losses: B if the backbone's loss is a sum, else 1."""
        return len(interaction) if sums_over_batch(self.backbone) else 1

    def index_loss(self, users: Tensor, items: Tensor, interaction) -> Tensor:
        """Returns the learner's ``joint_loss`` on a batch, with the backbone's ranking loss.

        The ranking loss is BPR for a backbone without a loss on the scores of pairs (ENMF, NESCL's
        contrast, RecBole's own models).

        Args:
            users: User vectors with the padding row, shape (U + 1, D).
            items: Item vectors with the padding row, shape (I + 1, D).
            interaction: RecBole batch.
        """
        batch = interaction[self.USER_ID], interaction[self.ITEM_ID]
        ranking_loss = getattr(self.backbone, "ranking_loss", super().ranking_loss)
        return self.learner.joint_loss(users, items, *batch, ranking_loss)

    def loss_and_vectors(self, interaction) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the backbone's loss with this step's user and item vectors."""
        return loss_and_embeddings(self.backbone, interaction)

    def em_loss(self, interaction) -> Tensor:
        """Returns the loss of the M-step: the backbone's loss plus BPR on nodes at every depth.

        The node above an item takes the item's place. Rows whose positive and negative item are in
        the same node teach nothing at that depth and are left out.
        """
        loss, users, items = self.loss_and_vectors(interaction)
        user, item = users[interaction[self.USER_ID]], interaction[self.ITEM_ID]
        if self.NEG_ITEM_ID in interaction:
            other = interaction[self.NEG_ITEM_ID]
        else:  # a backbone that draws its own negatives
            other = torch.randint_like(item, 1, self.n_items)
        targets = []
        for depth in range(1, self.index.depth + 1):
            positive, negative = (self.nodes.of_items(i, depth) for i in (item, other))
            vectors = self.nodes.all(self.settings.node_vectors, depth, items)
            differ = positive != negative
            if differ.any():
                scores = [(user * vectors[n]).sum(1)[differ] for n in (positive, negative)]
                targets.append(bpr(*scores))
        if not targets:
            return loss
        weight = EM_WEIGHT * self.batch_weight(interaction)
        return loss + weight * torch.stack(targets).mean()
