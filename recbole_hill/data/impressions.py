"""What a model of labelled impressions knows besides the labels: three sources of features."""

import numpy as np
import scipy.sparse as sp
import torch
from recbole.utils import FeatureSource
from torch import Tensor

from recbole_hill.data.fields import Encoded, FieldEncoder
from recbole_hill.data.inverted_index import History, InvertedIndex
from recbole_hill.data.tasks import (
    Task,
    feature_names,
    label_matrix,
    require_no_leak,
    require_two_classes,
)

_USER = (FeatureSource.USER, FeatureSource.USER_ID)
_ITEM = (FeatureSource.ITEM, FeatureSource.ITEM_ID)


class Impressions:
    """Features by source, all learnt from the training rows: ``.user``, ``.item`` and ``.inter``.

    Args:
        dataset: RecBole's train dataset, whose labels are columns named as the tasks.
        tasks: The labels; a user is engaged with the items of rows where the first is 1.

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

    def __init__(self, dataset, tasks: tuple[Task, ...]):
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
        require_no_leak(dataset, others, tasks)

        users, items = rows[ids[0]], rows[ids[1]]
        sides = dataset.get_user_feature(), dataset.get_item_feature()
        known = users.unique(), items.unique()
        self.users = FieldEncoder(sides[0], names[_USER], dataset, known[0])
        self.items = FieldEncoder(sides[1], names[_ITEM], dataset, known[1])
        self.user_features = self.users.encode(sides[0], dataset.user_num)
        self.item_features = self.items.encode(sides[1], dataset.item_num)
        everything = torch.arange(len(rows))
        context = names[(FeatureSource.INTERACTION,)]
        self.context = FieldEncoder(rows, context, dataset, everything)

        engaged = labels[:, 0] > 0
        self.set_history(users[engaged], items[engaged], dataset.user_num, dataset.item_num)

    def set_history(self, users: Tensor, items: Tensor, n_users: int, n_items: int) -> None:
        """Says who engaged with what, (E,) each, and makes the queries of it."""
        ones = np.ones(len(users), dtype=np.float32)
        shape = (n_users, n_items)
        self.history = History(sp.csr_matrix((ones, (users.numpy(), items.numpy())), shape=shape))
        names = (*self.items.token_fields, *self.items.bag_fields)
        lists = zip(names, self.item_features.value_lists(), strict=True)
        # Of an item's own id nothing but the target itself could be in common.
        id_field = self.items.token_fields[0] if self.items.token_fields else None
        self.indices = [
            InvertedIndex(values, self.items.vocabulary, self.history)
            for name, values in lists
            if name != id_field
        ]

    def context_of(self, rows, n_rows: int) -> Encoded:
        """Returns the interaction features of a batch; missing where it has none."""
        return self.context.encode(rows, n_rows)
