"""Settings that are ``auto`` or shares: resolved from the size of the data, after loading.

| setting          | value                                                                         |
|------------------|-------------------------------------------------------------------------------|
| train_batch_size | the power of two nearest to train rows / ``steps_per_epoch``, 64 to 8,192     |
| nodes_per_depth  | an eighth and an eightieth of the items, to one significant digit, at least 2 |
| beam_width       | a fifth of a depth's nodes, 20 to 80; all nodes where that is half of them    |
| n_walks          | walks from a node with, in all, 27 nodes a train row of it, 400 to 1,600      |

``nodes_per_depth`` may also list shares of the items, such as [0.25, 0.025]; they become counts in
the same way, and of equal counts one stays: [0.125, 0.0125] is what ``auto`` is. ``beam_width``
follows the nodes, also where they are given.

A model that trains on batches of users counts users instead of rows. Where the data are so large
that the largest batch leaves an epoch more than ``steps_per_epoch`` steps, the default ``epochs``
and ``stopping_step`` shrink in proportion, to 20 and 3 at least. Where the data are small, the
default rank of a spectral model is at most half the number of users and of items.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from recbole_hill import registry
from recbole_hill.run.folder import read_config

AUTO = "auto"
LEAST_BATCH, LARGEST_BATCH = 64, 8192
#: The settings whose values this module decides.
KEYS = (
    *("train_batch_size", "epochs", "stopping_step", "nodes_per_depth", "phi_dep", "beam_width"),
    *("n_walks", "ideal_rank", "spectral_rank", "embedding_size"),
)
#: Defaults that are counted in epochs, with their least values on large data.
IN_EPOCHS = {"epochs": 20, "stopping_step": 3}
#: Nodes at depth 1 and 2, as shares of the items.
_NODES_PER_ITEM = (1 / 8, 1 / 80)
#: Nodes that a search keeps at a depth: as a share of the depth's nodes, at least, at most.
_KEPT_SHARE, _LEAST_KEPT, _MOST_KEPT = 1 / 5, 20, 80
#: Nodes of all walks from one node: so many for a train row of the node, at least, at most.
_WALKED_PER_ROW, _LEAST_WALKED, _MOST_WALKED = 27, 400, 1600
#: RecBole's models that train on batches of users; one of our own has ``user_wise = True``.
_USER_WISE = frozenset(
    {"MultiDAE", "MultiVAE", "MacridVAE", "CDAE", "ENMF", "RaCT", "RecVAE", "DiffRec", "LDiffRec"}
)


@dataclass(frozen=True)
class Size:
    """Size of the data: train rows, users and items, without RecBole's padding."""

    rows: int
    users: int
    items: int

    @classmethod
    def of(cls, train) -> "Size":
        """Counts a RecBole dataset."""
        return cls(len(train.inter_feat), train.user_num - 1, train.item_num - 1)


def resolve(config, size: Size) -> None:
    """Replaces every ``auto`` and every share in a configuration, and logs what it became.

    Args:
        config: RecBole's Config, changed in place.
        size: Size of the data that are trained on.
    """
    notes = []
    if config["train_batch_size"] == AUTO:
        notes += _resolve_batch(config, size)
    if "nodes_per_depth" in config and (shares := _shares(config["nodes_per_depth"])):
        notes += _resolve_nodes(config, size.items, shares)
    if "beam_width" in config and config["beam_width"] == AUTO:
        config["beam_width"] = kept_nodes(config["nodes_per_depth"])
        notes.append(f"beam_width {config['beam_width']}")
    if "n_walks" in config and config["n_walks"] == AUTO:
        notes += _resolve_walks(config, size)
    notes += _bound_rank(config, size)
    if notes:
        logging.getLogger().info(f"auto: {', '.join(notes)}")


def batch_size(n: int, steps: int) -> int:
    """Returns the power of two that is nearest to n / steps, from 64 to 8,192.

    Args:
        n: Number of rows (or users) of an epoch.
        steps: Number of steps that an epoch is to have.
    """
    powers = (2**exponent for exponent in range(6, 14))
    return min(powers, key=lambda power: abs(power - n / steps))


def node_counts(items: int, shares: Sequence[float] = _NODES_PER_ITEM) -> list[int]:
    """Returns the nodes per depth, finest first; a small catalogue has fewer depths.

    Args:
        items: I, the number of items.
        shares: Nodes of each depth, as a share of the items.
    """
    counts = [max(2, _one_digit(items * share)) for share in shares]
    return sorted(set(counts), reverse=True)


def kept_nodes(nodes: int | Sequence[int]) -> list[int]:
    """Returns the nodes that a search keeps per depth; a beam of half a depth would save nothing.

    Args:
        nodes: Nodes per depth.
    """
    counts = nodes if isinstance(nodes, Sequence) else [nodes]
    kept = [min(_MOST_KEPT, max(_LEAST_KEPT, int(count * _KEPT_SHARE))) for count in counts]
    return [some if 2 * some < count else count for some, count in zip(kept, counts, strict=True)]


def shrunk(value: int, share: float, least: int) -> int:
    """Returns a number of epochs times a share, at least ``least`` unless it was less before."""
    return min(value, max(least, round(value * share)))


def rank_setting(config) -> str | None:
    """Returns the setting that counts singular vectors of the model, or of its backbone."""
    has_backbone = "backbone" in config
    ranked = registry.find(config["backbone"]).load() if has_backbone else config.model_class
    return getattr(ranked, "rank_setting", None)


def largest_rank(size: Size) -> int:
    """Returns the largest rank that a default or a search takes: half of the users or items."""
    return max(1, min(size.users, size.items) // 2)


def _resolve_batch(config, size: Size) -> list[str]:
    n, unit = (size.users, "users") if _is_user_wise(config) else (size.rows, "train rows")
    wanted = config["steps_per_epoch"]
    batch = config["train_batch_size"] = batch_size(n, wanted)
    notes = [f"train_batch_size {batch} ({n:,} {unit})"]
    if n > LARGEST_BATCH * wanted:
        for key, least in IN_EPOCHS.items():
            value = shrunk(config[key], LARGEST_BATCH * wanted / n, least)
            if key not in config.external_config_dict and value != config[key]:
                config[key] = value
                notes.append(f"{key} {value} ({-(-n // batch):,} steps an epoch)")
    return notes


def _shares(nodes) -> Sequence[float]:
    """Returns the shares of the items that ``nodes_per_depth`` names; none if it names counts."""
    if nodes == AUTO:
        return _NODES_PER_ITEM
    return nodes if isinstance(nodes, list) and nodes[0] < 1 else ()


def _resolve_nodes(config, items: int, shares: Sequence[float]) -> list[str]:
    if config["warm_start"]:  # the index goes on, and with it its sizes
        nodes, why = read_config(config["warm_start"])["nodes_per_depth"], "as before"
    else:
        nodes, why = node_counts(items, shares), f"{items:,} items"
    config["nodes_per_depth"] = nodes
    notes = [f"nodes_per_depth {nodes} ({why})"]
    if config["phi_dep"] > len(nodes):
        config["phi_dep"] = len(nodes)
        notes.append(f"phi_dep {len(nodes)}")
    return notes


def n_walks(size: Size, walk_length: int) -> int:
    """Returns the number of walks from every node; fewer on sparse data, which they overfit.

    Args:
        size: Size of the data.
        walk_length: Nodes of a walk.
    """
    walked = _WALKED_PER_ROW * size.rows / (size.users + size.items)
    return max(1, round(min(_MOST_WALKED, max(_LEAST_WALKED, walked)) / walk_length))


def _resolve_walks(config, size: Size) -> list[str]:
    config["n_walks"] = n_walks(size, config["walk_length"])
    return [f"n_walks {config['n_walks']}"]


def _bound_rank(config, size: Size) -> list[str]:
    """Bounds the rank of the model, or of its backbone, that nobody gave."""
    key, bound = rank_setting(config), largest_rank(size)
    if key is None or key in config.external_config_dict or config[key] <= bound:
        return []
    config[key] = bound
    return [f"{key} {bound} ({size.users:,} users, {size.items:,} items)"]


def _is_user_wise(config) -> bool:
    model = config.model_class
    return getattr(model, "user_wise", False) or any(
        cls.__name__ in _USER_WISE
        for cls in model.__mro__
        if cls.__module__.startswith("recbole.model.general")
    )


def _one_digit(number: float) -> int:
    """Rounds to one significant digit."""
    return int(float(f"{number:.0e}"))
