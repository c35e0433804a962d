"""The features of a model of labelled impressions: of the user, the item and the interaction."""

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
    """Features of users, of items and of interactions, all learnt from the training rows.

    Args:
        dataset: RecBole's train dataset; its label columns have the names of the tasks.
        tasks: The labels. A user is engaged with an item if the first label of a row is 1.
        interests: Maps user fields to the item fields whose values they name. These values are
            queries, in addition to the values of engaged items.
        vocabulary: Which ids and values get vectors: ``train``, the ids and values that train has
            seen, or ``catalogue``, all of the dataset's (a stream shows some of its items later).
            Numbers are normalised by train's users and items in both cases.
        trusted: Columns that are not checked for leaks.

    Attributes:
        users, items: Encoders of the user and item features, ids included.
        context: Encoder of the other columns of the interaction file.
        user_features, item_features: Every user's and every item's features, padding row first.
        history: Which user engaged with which items.
        indices: One inverted index per token field of the items, ids left out.
        base_rates: Mean label per task in train, shape (T,).

    Raises:
        ValueError: If a label is the same in all rows, or a feature gives a label away.
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
        """Sets the engagements (user and item ids, (E,) each), and makes the queries."""
        ones = np.ones(len(users), dtype=np.float32)
        shape = (n_users, n_items)
        self.history = History(sp.csr_matrix((ones, (users.numpy(), items.numpy())), shape=shape))
        # The item id is left out: two rows share it only if they have the same item.
        of_history = [
            InvertedIndex.of_history(values, self.items.vocabulary, self.history)
            for name, values in self._lists.items()
            if name != self._item_id
        ]
        self.indices = [*self._stated, *of_history]

    def _stated_values(self, dataset, user_field: str, item_field: str) -> Tensor:
        """Returns the values of an item field that a user field names, matched by token, (U, N)."""
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
        """Returns the interaction features of a batch; a column that it lacks is missing."""
        return self.context.encode(rows, n_rows)
