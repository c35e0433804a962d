"""A part of a split as a data frame in external ids."""

import numpy as np
import pandas as pd
import torch

from recbole_hill.data.ids import Ids


def frame_of(loader) -> pd.DataFrame:
    """Returns the rows of a loader's part.

    Args:
        loader: A loader of :class:`~recbole_hill.data.splits.Data`.

    Returns:
        The columns ``user`` and ``item`` (text), and each column of numbers under its own name.
    """
    dataset = loader._dataset
    rows, ids = dataset.inter_feat, Ids.of(dataset)
    columns = {"user": ids.users, "item": ids.items}
    fields = dataset.uid_field, dataset.iid_field
    frame = {
        name: tokens[rows[field].numpy() - 1]
        for (name, tokens), field in zip(columns.items(), fields, strict=True)
    }
    for field in rows.columns:
        column = rows[field]
        if field not in fields and torch.is_floating_point(column) and column.ndim == 1:
            frame[field] = column.numpy().astype(np.float64)
    return pd.DataFrame(frame)
