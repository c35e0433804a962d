"""What a model of labelled impressions knows besides the labels: three sources of features."""

from collections.abc import Collection, Mapping

import numpy as np
import scipy.sparse as sp
import torch
from recbole.utils import FeatureSource
from torch import Tensor

from recbole_hill.checks import one_of
from recbole_hill.data.fields import Encoded, FieldEncoder
from recbole_hill.data.inverted_index import History, InvertedIndex
from recbole_hill.data.tasks import (
    Task,
    feature_names,
    label_matrix,
    require_no_leak,
    require_two_classes,
)

VOCABULARIES = ("train", "catalogue")

_USER = (FeatureSource.USER, FeatureSource.USER_ID)
_ITEM = (FeatureSource.ITEM, FeatureSource.ITEM_ID)


class Impressions:
    """Features by source, all learnt from the training rows: ``.user``, ``.item`` and ``.inter``.

    Args:
        dataset: RecBole's train dataset, whose labels are columns named as the tasks.
        tasks: The labels; a user is engaged with the items of rows where the first is 1.
        interests: User fields that name values of an item field, and which: queries too.
        vocabulary: Whose ids and values get vectors of their own: those that ``train`` has seen, or
            all of the ``catalogue`` (whose items a stream shows later). Numbers are normalised by
            those of train's users and items either way.
        trusted: Columns that are not looked at for leaks.

    Attributes:
        users, items: Encoders of the side features, ids among them.
        context: Encoder of the interaction file's further columns.
        user_features, item_features: Every user's and item's features, padding row first.
        history: Who engaged with what.
        indices: One inverted index per token field of the items, ids left out.
        base_rates: Mean label per task in train.

    Raises:
        ValueError: If a label is the same in all rows, or a feature gives one away.
    """

    def __init__(
        self,
        dataset,
        tasks: tuple[Task, ...],
        interests: Mapping[str, str] | None = None,
        vocabulary: str = "train",
        trusted: Collection[str] = (),
    ):
        rows = dataset.inter_feat
        labels = label_matrix(rows, tasks)
        require_two_classes(labels, tasks)
        self.base_rates = labels.double().mean(0).float()
        names = {
            source: list(feature_names(dataset, tasks, source))
            for source in (_USER, _ITEM, (FeatureSource.INTERACTION,))
        }
        ids = (dataset.uid_field, dataset.iid_field)
        others = [name for of_source in names.values() for name in of_source if name not in ids]
        require_no_leak(dataset, others, tasks, trusted)

        users, items = rows[ids[0]], rows[ids[1]]
        sides = dataset.get_user_feature(), dataset.get_item_feature()
        whole = one_of("vocabulary", vocabulary, VOCABULARIES) == "catalogue"
        self.users, self.items = (
            FieldEncoder(side, names[source], dataset, known.unique(), whole=whole)
            for side, source, known in zip(sides, (_USER, _ITEM), (users, items), strict=True)
        )
        self.user_features = self.users.encode(sides[0], dataset.user_num)
        self.item_features = self.items.encode(sides[1], dataset.item_num)
        everything = torch.arange(len(rows))
        context = names[(FeatureSource.INTERACTION,)]
        self.context = FieldEncoder(rows, context, dataset, everything, whole=whole)

        self._item_id = dataset.iid_field
        names = (*self.items.token_fields, *self.items.bag_fields)
        self._lists = dict(zip(names, self.item_features.value_lists(), strict=True))
        self._stated = [
            InvertedIndex.of_interests(
                self._lists[item_field],
                self.items.vocabulary,
                self._stated_values(dataset, user_field, item_field),
            )
            for user_field, item_field in (interests or {}).items()
        ]
        engaged = labels[:, 0] > 0
        self.set_history(users[engaged], items[engaged], dataset.user_num, dataset.item_num)

    def set_history(self, users: Tensor, items: Tensor, n_users: int, n_items: int) -> None:
        """Says who engaged with what, (E,) each, and makes the queries of it."""
        ones = np.ones(len(users), dtype=np.float32)
        shape = (n_users, n_items)
        self.history = History(sp.csr_matrix((ones, (users.numpy(), items.numpy())), shape=shape))
        # Of an item's own id nothing but the target itself could be in common.
        of_history = [
            InvertedIndex.of_history(values, self.items.vocabulary, self.history)
            for name, values in self._lists.items()
            if name != self._item_id
        ]
        self.indices = [*self._stated, *of_history]

    def _stated_values(self, dataset, user_field: str, item_field: str) -> Tensor:
        """Returns the values of an item field that a user field names, by token, (U, N)."""
        for field, known in ((user_field, dataset.get_user_feature()), (item_field, self._lists)):
            if field not in known:
                raise ValueError(
                    f"interest_fields {user_field}: {item_field}: {field!r} is not a token column "
                    f"that is read (see load_col)"
                )
        ids = dataset.field2token_id[item_field]
        theirs = [ids.get(token, 0) for token in dataset.field2id_token[user_field]]
        stated = torch.tensor(theirs)[dataset.get_user_feature()[user_field]]
        stated = stated if stated.ndim == 2 else stated.unsqueeze(1)
        return self.items.ids_of(item_field)[stated]

    def context_of(self, rows, n_rows: int) -> Encoded:
        """Returns the interaction features of a batch; missing where it has none."""
        return self.context.encode(rows, n_rows)
