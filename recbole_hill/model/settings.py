"""HILL's settings, validated once and kept in a frozen value."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from recbole_hill import registry
from recbole_hill.checks import is_integer, is_number, one_of, require_at_least
from recbole_hill.retrieval.widths import NODE_SCORES, RETRIEVALS

#: Controls that move users without training. A control is an arm (a compared variant of a run) that
#: keeps everything except the idea under test.
AVERAGES = ("average", "average_random")
CONTROLS = ("continue", "random_nodes", "random_users", *AVERAGES)

_CHOICES = {
    "interest_source": ("history", "retrieved", "both"),
    "interest_reading": ("coverage", "concentration"),
    "pair_negatives": ("random", "sibling", "hard", "all"),
    "pair_weighting": ("equal", "rate"),
    "node_vectors": ("members", "frozen"),
    "retrieval": RETRIEVALS,
    "node_score": NODE_SCORES,
}
_AT_LEAST = {
    "phi_dep": 1,
    "min_children": 1,
    "pair_history": 0,
    "ttt_epochs": 0,
    "ttt_learning_rate": 0,
    "ttt_weight": 0,
}


@dataclass(frozen=True)
class HillSettings:
    """The settings of ``properties/model/HILL.yaml``, which documents each of them.

    An index learner reads and checks its own settings: see
    :meth:`~recbole_hill.index.learners.IndexLearner.from_settings`.
    """

    nodes_per_depth: tuple[int, ...]
    index_learning: str
    pair_selector: str
    interest_source: str
    interest_reading: str
    interest_thresholds: tuple[float, ...]
    phi_dep: int
    min_children: int
    ttt_epochs: int
    ttt_learning_rate: float
    ttt_weight: float
    pair_negatives: str
    pair_weighting: str
    pair_history: int
    node_vectors: str
    adapt_control: tuple[str, ...]
    retrieval: str
    beam_width: tuple[int, ...]
    node_score: str

    @classmethod
    def from_config(cls, config, n_items: int) -> "HillSettings":
        """Reads and checks the settings.

        Args:
            config: RecBole's Config or any mapping.
            n_items: I, the number of items without padding; ``nodes_per_depth`` cannot exceed it.

        Raises:
            ValueError: If a value does not fit. The message names the key, the value and what is
                accepted.
        """
        values = {field.name: config[field.name] for field in fields(cls)}
        for key, value in values.items():
            if value is None:
                raise ValueError(f"{key} must be set for HILL, got nothing")
        registry.LEARNERS.find(values["index_learning"])
        registry.SELECTORS.find(values["pair_selector"])
        for key, accepted in _CHOICES.items():
            one_of(key, values[key], accepted)
        whole = {field.name for field in fields(cls) if field.type is int}
        require_at_least(values, _AT_LEAST, whole)

        nodes = _sequence("nodes_per_depth", values["nodes_per_depth"])
        for size in nodes:
            if not is_integer(size) or size < 1:
                raise ValueError(f"nodes_per_depth must be positive integers, got {nodes}")
            if size > n_items:
                raise ValueError(f"nodes_per_depth has {size} nodes for {n_items} items")
        thresholds = _sequence("interest_thresholds", values["interest_thresholds"])
        for threshold in thresholds:
            if not is_number(threshold) or not 0 <= threshold <= 1:
                raise ValueError(f"interest_thresholds must be in [0, 1], got {thresholds}")
        if values["phi_dep"] > min(len(nodes), len(thresholds)):
            raise ValueError(
                f"phi_dep {values['phi_dep']} needs as many depths in nodes_per_depth {nodes} and "
                f"interest_thresholds {thresholds}"
            )
        controls = _sequence("adapt_control", values["adapt_control"], may_be_empty=True)
        for control in controls:
            if control not in CONTROLS:
                raise ValueError(
                    f"adapt_control must be among {', '.join(CONTROLS)}, got {control!r}"
                )
        width = values["beam_width"]
        widths = (width,) * len(nodes) if isinstance(width, int) else _sequence("beam_width", width)
        if len(widths) != len(nodes) or any(not isinstance(w, int) or w < 1 for w in widths):
            raise ValueError(
                f"beam_width must be a positive integer, or one per depth of {nodes}, got {width}"
            )
        sequences = {
            "nodes_per_depth": nodes,
            "interest_thresholds": thresholds,
            "adapt_control": controls,
            "beam_width": widths,
        }
        return cls(**{**values, **sequences})


def _sequence(key: str, value, *, may_be_empty: bool = False) -> tuple:
    if isinstance(value, (str, int, float)):  # --adapt_control=continue, --nodes_per_depth=200
        value = (value,)
    if not isinstance(value, Sequence) or not (value or may_be_empty):
        raise ValueError(f"{key} must be a list, got {value!r}")
    return tuple(value)
