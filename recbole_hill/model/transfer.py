"""Transfer of a model's weights to newer data: user and item rows follow their external ids."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recbole_hill.data.ids import Ids, places

_OTHER_SIDE = {"users": "items", "items": "users"}


@dataclass(frozen=True)
class RowMap:
    """The old row of each row of the new data, including padding (row 0).

    Attributes:
        old_row: For ``users``, ``items`` and ``both`` (users, then items, as graph models stack
            them): the old row of every new row, -1 for a new user or item.
        n_old: For the same names, the number of old rows.
    """

    old_row: dict[str, Tensor]
    n_old: dict[str, int]

    @classmethod
    def between(cls, old: Ids, new: Ids) -> "RowMap":
        """Returns the map between the old ids and the new ids."""
        users, items = _old_rows(new.users, old.users), _old_rows(new.items, old.items)
        n_users, n_items = len(old.users) + 1, len(old.items) + 1
        both = torch.cat((users, torch.where(items < 0, items, items + n_users)))
        return cls(
            {"users": users, "items": items, "both": both},
            {"users": n_users, "items": n_items, "both": n_users + n_items},
        )

    def known(self, kind: str) -> Tensor:
        """Returns which new rows existed before, shape (rows,), bool."""
        return self.old_row[kind] >= 0

    def is_identity(self, kind: str) -> bool:
        """Whether the new rows are the same as the old rows, in the same order."""
        return torch.equal(self.old_row[kind], torch.arange(self.n_old[kind]))


def _old_rows(new: np.ndarray, old: np.ndarray) -> Tensor:
    """Returns the old row of every new row, -1 if there is none; padding stays row 0."""
    place = torch.from_numpy(places(new, old))
    return torch.cat((place.new_zeros(1), torch.where(place < 0, place, place + 1)))


def transfer(
    old: dict[str, Tensor], new: dict[str, Tensor], rows: RowMap, interactions: sp.csr_matrix
) -> dict[str, Tensor]:
    """Returns the old weights, arranged for the new data's users and items.

    Each dimension that counts users, items or both follows the ids. All other dimensions stay as
    they were.

    A new item's row in a table starts at the mean of the rows of the known users who have the item,
    scaled to the mean norm of the known items' rows. A new user's row starts likewise. The rows of
    users come from the table with the corresponding name (``user`` for ``item``). If the model has
    no such table, a user's row is the mean of the user's known items in the same table. Rows
    without a known neighbour, and new entries of weights that are not tables, keep the values of
    ``new``.

    Args:
        old: Weights of the old run, on the CPU.
        new: Seeded weights of the new model, on the CPU.
        rows: Map from new rows to old rows.
        interactions: The new train matrix, shape (U + 1, I + 1), with the padding row and column.

    Returns:
        Weights in the shapes of ``new``.

    Raises:
        ValueError: If the two are not of one model and size, no weight has a row per item, or it is
            ambiguous whether a dimension counts users or items.
    """
    if odd := sorted(old.keys() ^ new.keys()):
        where = "not in this model" if odd[0] in old else "only in this model"
        raise ValueError(f"the old run's weights do not fit: {odd[0]} is {where}")
    kinds = {
        name: [_kind(name, dim, old[name].shape, new[name].shape, rows) for dim in range(x.dim())]
        for name, x in new.items()
    }
    if not any("items" in kind or "both" in kind for kind in kinds.values()):
        raise ValueError("the model has no weights per item that could be taken over")
    weights = {name: _by_id(old[name], new[name], kinds[name], rows) for name in new}
    tables = {
        name: kind[0]
        for name, kind in kinds.items()
        if kind[1:] == [None] and kind[0] in _OTHER_SIDE and new[name].is_floating_point()
    }
    for name, kind in tables.items():
        _start_new_rows(weights, name, kind, tables, rows, interactions)
    return weights


def _kind(name: str, dim: int, old: torch.Size, new: torch.Size, rows: RowMap) -> str | None:
    """Returns what a dimension counts: ``users``, ``items``, ``both``, or None for anything else.

    Sizes decide. They can be ambiguous: there may be as many users as items, or as many as before,
    and a hidden layer may have the same size. Then the name of the table decides.
    """
    if len(old) != len(new):
        raise _misfit(name, old, new)
    fits = [
        kind
        for kind, old_row in rows.old_row.items()
        if (old[dim], new[dim]) == (rows.n_old[kind], len(old_row))
    ]
    if not fits and old[dim] != new[dim]:
        raise _misfit(name, old, new)
    named = [kind for kind in fits if dim == 0 and _is_named_for(name, kind)]
    moves = old[dim] != new[dim] or not all(rows.is_identity(kind) for kind in fits)
    if not moves:  # no row moves: it does not matter what the dimension counts
        return (named or fits or [None])[0]
    if named or (len(fits) == 1 and old[dim] != new[dim]):
        return (named or fits)[0]
    raise ValueError(
        f"it cannot be told whether the {old[dim]} entries of {name} (dimension {dim}) are "
        f"{' or '.join(fits)}{' or neither' if old[dim] == new[dim] else ''}: as many as there are"
    )


def _is_named_for(name: str, kind: str) -> bool:
    """Whether a weight's name contains this side (users or items) and not the other side."""
    other = _OTHER_SIDE.get(kind)
    return other is not None and kind[:-1] in name and other[:-1] not in name


def _misfit(name: str, old: torch.Size, new: torch.Size) -> ValueError:
    there, here = (" x ".join(map(str, shape)) for shape in (old, new))
    return ValueError(
        f"the old run's weights do not fit: {name} is {there} there and {here} here; accepted is "
        "the same model with the same settings"
    )


def _by_id(old: Tensor, new: Tensor, kinds: list[str | None], rows: RowMap) -> Tensor:
    """Takes over entries that have an old place in every dimension; others come from ``new``."""
    value, known = old, torch.ones((), dtype=torch.bool)
    for dim, kind in enumerate(kinds):
        if kind is not None:
            value = value.index_select(dim, rows.old_row[kind].clamp_min(0))
            shape = [-1 if d == dim else 1 for d in range(old.dim())]
            known = known & rows.known(kind).view(shape)
    return torch.where(known, value, new)


def _start_new_rows(
    weights: dict[str, Tensor],
    name: str,
    kind: str,
    tables: dict[str, str],
    rows: RowMap,
    interactions: sp.csr_matrix,
) -> None:
    """Fills a table's new rows, in place, from the known rows of their neighbours."""
    table, known, other = weights[name], rows.known(kind).numpy(), _OTHER_SIDE[kind]
    fresh = np.flatnonzero(~known)
    if not len(fresh) or not known[1:].any():
        return
    has = interactions if kind == "users" else interactions.T
    has = has.tocsr().astype(np.float32)
    values = table.double().numpy()
    partner = name.replace(kind[:-1], other[:-1])
    if tables.get(partner) == other and weights[partner].shape[1] == table.shape[1]:
        neighbours, valid = weights[partner].double().numpy(), rows.known(other).numpy()
    else:
        neighbours, valid = _mean_rows(has.T.tocsr(), values, known)
    means, reached = _mean_rows(has[fresh], neighbours, valid)
    norms = np.linalg.norm(means, axis=1)
    reached &= norms > 0
    old_norm = np.linalg.norm(values[1:][known[1:]], axis=1).mean()
    means = means[reached] * (old_norm / norms[reached])[:, None]
    table[torch.from_numpy(fresh[reached])] = torch.from_numpy(means).to(table.dtype)


def _mean_rows(
    has: sp.csr_matrix, values: np.ndarray, valid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of each matrix row's valid rows, (N, D), and which matrix rows have any."""
    mask = has @ sp.diags(valid.astype(np.float32))
    counts = np.asarray(mask.sum(1)).ravel()
    return (mask @ values) / np.maximum(counts, 1)[:, None], counts > 0
