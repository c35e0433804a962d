"""Base of the models of labelled impressions: probabilities per task, and a ranking of all items.

An impression is an item that was shown to a user. It has one label per task, such as a click.
"""

from functools import cached_property

import torch
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import InputType, ModelType
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from recbole_hill.data.fields import Encoded
from recbole_hill.data.impressions import Impressions
from recbole_hill.data.tasks import label_matrix, tasks_of
from recbole_hill.labelled.search import BLOCK_PAIRS, ExhaustiveSearch, NetworkSearch
from recbole_hill.labelled.teacher import Teacher
from recbole_hill.labelled.towers.block import MoNNBlock
from recbole_hill.retrieval.vector_search import VectorSearch


class LabelledModel(AbstractRecommender):
    """A context-aware recommender that predicts several labels, and that can also retrieve.

    A subclass implements ``pair_logits`` (logits of given <user, item> pairs) and ``all_logits``
    (logits of every item for given users). A subclass may extend the loss (``loss_of``).

    The loss is the cross-entropy over tasks, weighted by task (HSNN, Eq. 1). With a teacher, the
    cross-entropy to the teacher's soft labels on unlabelled pairs is added (Eq. 2). Both terms use
    the same task weights.

    A user's history excludes the item being scored. In training that item is the label; in
    prediction it would leak. When all items are ranked, the full history is used.

    Settings: ``tasks``, ``interest_fields``, ``trusted_columns`` (columns that the leak check
    skips), ``vocabulary`` (``train`` | ``catalogue``), ``embedding_size`` (width of a feature's
    embedding), ``monn_scale``, ``overarch``, ``dropout_prob``, ``distill_from`` (folder of a
    finished run, the teacher), ``distill_pairs`` (number of unlabelled pairs per labelled one),
    ``distill_weight`` (weight of the distillation loss).
    """

    type = ModelType.CONTEXT
    input_type = InputType.POINTWISE

    def __init__(self, config, dataset):
        super().__init__()
        self.USER_ID, self.ITEM_ID = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]
        self.device = config["device"]
        self.n_users, self.n_items = dataset.user_num, dataset.item_num
        self.tasks = tasks_of(config)
        if not self.tasks:
            raise ValueError(
                f"{config['model']} needs labels: set tasks, such as "
                f"{{click: {{field: rating, at_least: 4}}}}"
            )
        if config["warm_start"]:
            raise ValueError(
                f"{config['model']} takes no warm_start, got {config['warm_start']}: its tables "
                f"are by the features' values; `stream` trains one model on later and later rows"
            )
        drawn = config["train_neg_sample_args"]["distribution"]
        if drawn != "none":
            raise ValueError(
                f"{config['model']} learns from labels, over which RecBole would write those of "
                f"drawn negatives: train_neg_sample_args must be none (~), got distribution "
                f"{drawn!r}"
            )
        self.data = Impressions(
            dataset,
            self.tasks,
            config["interest_fields"],
            config["vocabulary"],
            config["trusted_columns"] or (),
        )
        #: Whether a list may contain an item, by item id. In a stream only the served items are
        #: True.
        self.register_buffer("alive", torch.arange(self.n_items) > 0)
        weights = torch.tensor([task.weight for task in self.tasks])
        self.register_buffer("task_weights", weights, persistent=False)
        self._teacher_from = config, dataset

    @cached_property
    def teacher(self) -> Teacher | None:
        """The teacher, or None.

        It is loaded when training begins, because a finished model does not need it.
        """
        config, dataset = self._teacher_from
        return Teacher.from_config(config, self.tasks, dataset)

    # -- what a subclass implements -------------------------------------------------------------

    def pair_logits(
        self, users: Tensor, items: Tensor, context: Encoded, left_out: Tensor | None
    ) -> Tensor:
        """Returns one logit per task for each <user, item> pair.

        Args:
            users: User ids, shape (B,).
            items: Item ids, shape (B,).
            context: Features of the B impressions.
            left_out: Item to remove from each user's history, shape (B,); None removes nothing.

        Returns:
            Logits of T tasks, shape (B, T).
        """
        raise NotImplementedError

    def all_logits(self, users: Tensor) -> Tensor:
        """Returns the first task's logit of every item for each user, without context features.

        Args:
            users: User ids, shape (b,).

        Returns:
            Shape (b, I + 1), by item id; item 0 is RecBole's padding.
        """
        raise NotImplementedError

    def loss_of(
        self, users: Tensor, items: Tensor, context: Encoded, labels: Tensor, weights: Tensor
    ) -> Tensor:
        """Returns the loss of impressions with labels, hard or soft.

        Args:
            users: User ids, shape (B,).
            items: Item ids, shape (B,).
            context: Features of the B impressions.
            labels: Labels in [0, 1], shape (B, T).
            weights: Weight of each impression, shape (B,).

        Returns:
            The loss, a scalar.
        """
        return self.cross_entropy(self.pair_logits(users, items, context, items), labels, weights)

    def networks(self) -> list[MoNNBlock]:
        """Returns the networks, one per layer, coarsest layer first."""
        raise NotImplementedError

    def layer_sizes(self) -> list[int]:
        """Returns how many nodes or items each network would score if every node were kept.

        Here there is one network, and it scores V, the number of served items.
        """
        return [len(self.alive_rows)]

    def kept(self) -> list[Tensor]:
        """Returns the embeddings of nodes and items that serving keeps in memory."""
        raise NotImplementedError

    def searcher(self, full: bool = False) -> NetworkSearch | VectorSearch:
        """Returns the search that serves the model; an exact search if ``full``."""
        return ExhaustiveSearch(self)

    def serve(self, items: Tensor) -> None:
        """Restricts the lists to the given items. A stream leaves out deleted and future items.

        Args:
            items: Item ids, shape (N,).
        """
        self.alive.fill_(False)
        self.alive[items] = True
        self.forget()

    @property
    def alive_rows(self) -> Tensor:
        """Rows of the served items (row = item id - 1), ascending, shape (N,)."""
        return self.alive[1:].nonzero().squeeze(1).cpu()

    def forget(self) -> None:
        """Drops the embeddings kept for serving, because the weights change."""

    # -- what all models share ------------------------------------------------------------------

    def cross_entropy(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """Returns the cross-entropy, summed over tasks and rows with their weights (Eq. 1).

        Args:
            logits: Shape (B, T).
            labels: Labels in [0, 1], shape (B, T).
            weights: Weight of each row, shape (B,).
        """
        losses = binary_cross_entropy_with_logits(logits, labels, reduction="none")
        return weights @ (losses * self.task_weights).sum(1)

    def calculate_loss(self, interaction) -> Tensor:
        """RecBole's hook: the mean loss of the batch's labelled rows (Eq. 1).

        With a teacher, the mean loss of drawn pairs with the teacher's soft labels is added, times
        ``distill_weight`` (Eq. 2, 3). Labelled rows and drawn pairs go through the network
        together.
        """
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        context = self.data.context_of(interaction, len(users))
        labels = label_matrix(interaction, self.tasks).to(self.device)
        weights = torch.full((len(users),), 1 / len(users), device=self.device)
        if self.teacher is not None:
            drawn = self.teacher.draw(len(users), self.n_users, self.n_items)
            n_drawn = len(drawn[0])
            context = Encoded.cat((context, self.data.context_of({}, n_drawn)))
            share = torch.full((n_drawn,), self.teacher.weight / n_drawn)
            users, items, labels, weights = (
                torch.cat((labelled, unlabelled.to(labelled.device)))
                for labelled, unlabelled in zip(
                    (users, items, labels, weights), (*drawn, share), strict=True
                )
            )
        return self.loss_of(users, items, context, labels, weights)

    @torch.no_grad()
    def probabilities(self, interaction) -> Tensor:
        """Returns the probability of each task for the batch's rows, shape (B, T).

        Blocks of rows bound the memory. As in training, a user's history excludes the item being
        scored.
        """
        users, items = interaction[self.USER_ID], interaction[self.ITEM_ID]
        context = self.data.context_of(interaction, len(users))
        blocks = [
            self.pair_logits(users[rows], items[rows], context[rows], items[rows]).sigmoid()
            for rows in torch.arange(len(users)).split(BLOCK_PAIRS)
        ]
        return torch.cat(blocks)

    def predict(self, interaction) -> Tensor:
        """Returns the first task's probability for the batch's pairs, shape (B,)."""
        return self.probabilities(interaction)[:, 0]

    @torch.no_grad()
    def full_sort_predict(self, interaction) -> Tensor:
        """Returns the first task's logits of all items for the users, flattened, (B * (I + 1),)."""
        users = interaction[self.USER_ID].cpu()
        step = max(1, BLOCK_PAIRS // self.n_items)
        return torch.cat([self.all_logits(part) for part in users.split(step)]).view(-1)

    def train(self, mode: bool = True):
        """Switches the mode, and drops the embeddings kept for serving."""
        self.forget()
        return super().train(mode)

    def load_state_dict(self, *args, **kwargs):
        """Loads weights, and drops the embeddings kept for serving."""
        self.forget()
        return super().load_state_dict(*args, **kwargs)


def grid_logits(
    block: MoNNBlock, users: Tensor, user_vectors: Tensor, items: Tensor, item_vectors: Tensor
) -> Tensor:
    """Returns a network's logits for each user paired with a list of items, without context.

    Args:
        block: The network.
        users: User ids, shape (b,), on the CPU.
        user_vectors: Embeddings of the users, shape (b, num_embed, dim).
        items: Item ids, a list of C items per user, shape (b, C), on the CPU.
        item_vectors: Embeddings of the items, shape (b, C, num_embed, dim).

    Returns:
        Logits of T tasks, shape (b, C, T).
    """
    n_users, n_items = items.shape
    shared, context = [], block.data.context_of({}, 0)
    if not block.size.is_dot_product:
        shared = [index.block(users, items).flat() for index in block.data.indices]
        context = block.data.context_of({}, n_users * n_items)
    interactions = block.interact(user_vectors, item_vectors, shared, context)
    return block.logits(user_vectors, item_vectors, interactions)
