"""HILL's settings, validated once into a frozen value."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from recbole_hill.checks import is_integer, is_number, one_of, require_at_least, share
from recbole_hill.retrieval.choose import RETRIEVALS, require_node_score
from recbole_hill.retrieval.descent import NODE_SCORES
from recbole_hill.retrieval.faiss_ivf import PROBES

#: Of which these move users and train nothing.
AVERAGES = ("average", "average_random")
CONTROLS = ("continue", "random_nodes", "random_users", *AVERAGES)

_CHOICES = {
    "index_learning": ("em", "joint", "separate"),
    "index_direction": ("bottom_up", "top_down"),
    "index_metric": ("items", "scores"),
    "index_precision": ("float32", "bfloat16"),
    "interest_source": ("history", "retrieved", "both"),
    "interest_reading": ("coverage", "concentration"),
    "interest_carry": ("qualified", "touched"),
    "pair_negatives": ("random", "sibling", "hard", "all"),
    "pair_weighting": ("equal", "rate"),
    "node_vectors": ("members", "frozen"),
    "retrieval": RETRIEVALS,
    "node_score": NODE_SCORES,
    "faiss_probe": PROBES,
}
#: The least values of the settings that HSNN's index has too.
INDEX_AT_LEAST = {
    "index_weight": 0,
    "index_balance": 0,
    "index_balance_batches": 1,
    "index_alpha_power": 0,
    "index_epochs": 0,
    "index_warmup_epochs": 0,
}
_AT_LEAST = {
    **INDEX_AT_LEAST,
    "em_rounds": 0,
    "em_epochs": 0,
    "em_weight": 0,
    "kmeans_iterations": 1,
    "kmeans_points_per_node": 1,
    "index_supervision": 0,
    "index_reconstruction": 0,
    "index_batch": 1,
    "index_learning_rate": 0,
    "index_alpha": 0,
    "index_start_epoch": 0,
    "interest_top_k": 1,
    "phi_dep": 1,
    "min_children": 1,
    "pair_history": 0,
    "ttt_epochs": 0,
    "ttt_learning_rate": 0,
    "ttt_weight": 0,
}


@dataclass(frozen=True)
class HillSettings:
    """The settings of ``properties/model/HILL.yaml``, which documents each of them."""

    nodes_per_depth: tuple[int, ...]
    index_learning: str
    index_direction: str
    index_metric: str
    em_rounds: int
    em_epochs: int
    em_weight: float
    kmeans_iterations: int
    kmeans_points_per_node: int
    index_weight: float
    index_supervision: float
    index_reconstruction: float
    index_balance: float
    index_balance_batches: int
    index_batch: int
    index_learning_rate: float
    index_alpha: float
    index_alpha_power: float
    index_epochs: float
    index_warmup_epochs: float
    index_start_epoch: int
    index_revive: bool
    index_gradient: float
    index_precision: str
    interest_source: str
    interest_top_k: int
    interest_reading: str
    interest_carry: str
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
    average_weight: float
    retrieval: str
    beam_width: tuple[int, ...]
    node_score: str
    faiss_probe: str

    @classmethod
    def from_config(cls, config, n_items: int) -> "HillSettings":
        """Reads and checks the settings.

        Args:
            config: RecBole's Config or any mapping.
            n_items: Number of real items, which bounds ``nodes_per_depth``.

        Raises:
            ValueError: Naming the key, the value given and what is accepted.
        """
        values = {field.name: config[field.name] for field in fields(cls)}
        for key, value in values.items():
            if value is None:
                raise ValueError(f"{key} must be set for HILL, got nothing")
        for key, accepted in _CHOICES.items():
            one_of(key, values[key], accepted)
        whole = {field.name for field in fields(cls) if field.type is int}
        require_at_least(values, _AT_LEAST, whole)
        for key in ("average_weight", "index_gradient"):
            share(key, values[key])

        kind = values["index_learning"], values["index_direction"]
        if values["index_metric"] == "scores" and kind != ("em", "bottom_up"):
            raise ValueError(
                "index_metric scores is for index_learning em and index_direction bottom_up, got "
                f"{kind[0]} and {kind[1]}; there accepted is items"
            )

        require_node_score(values["node_score"], values["faiss_probe"])
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
