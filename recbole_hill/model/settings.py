"""HILL's settings, with the relations between them checked once, as a frozen value."""

from dataclasses import dataclass, fields

from recbole_hill import registry

#: Controls that move users without training. A control is an arm (a compared variant of a run)
#: that keeps everything except the idea under test.
AVERAGES = ("average", "average_random")
#: Controls of pairs as edges: the graph has the pairs, or random nodes', and nothing is trained.
UNTRAINED = ("untrained", "untrained_random")


@dataclass(frozen=True)
class HillSettings:
    """The settings of ``properties/model/HILL.yaml``, which documents each of them.

    Types and ranges are those of ``properties/schema.yaml``. An index learner reads its own
    settings: see
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
    pair_form: str
    vertices: str
    keep_normalisation: bool
    ttt_epochs: int
    ttt_learning_rate: float
    ttt_weight: float
    pair_weight: str
    pair_loss: str
    pair_negatives: str
    pair_weighting: str
    pair_history: int
    node_vectors: str
    adapt_control: tuple[str, ...]
    retrieval: str
    beam_width: tuple[int, ...]
    node_score: str

    @property
    def pairs_are_rows(self) -> bool:
        """Whether pairs are rows of the training data."""
        return "rows" in self.pair_form

    @property
    def pairs_are_edges(self) -> bool:
        """Whether pairs are edges of the backbone's graph."""
        return "vertices" in self.pair_form

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
        registry.LEARNERS.find(values["index_learning"])
        registry.SELECTORS.find(values["pair_selector"])
        nodes = _sequence(values["nodes_per_depth"])
        for size in nodes:
            if size > n_items:
                raise ValueError(f"nodes_per_depth has {size} nodes for {n_items} items")
        thresholds = _sequence(values["interest_thresholds"])
        if values["phi_dep"] > min(len(nodes), len(thresholds)):
            raise ValueError(
                f"phi_dep {values['phi_dep']} needs as many depths in nodes_per_depth {nodes} and "
                f"interest_thresholds {thresholds}"
            )
        if values["pair_loss"] == "backbone":
            for key, accepted in (("pair_negatives", "random"), ("pair_weighting", "equal")):
                if values[key] != accepted:
                    raise ValueError(
                        f"pair_loss backbone takes {key} {accepted} alone, got {values[key]}"
                    )
        if values["interest_source"] == "beam" and values["retrieval"] != "beam":
            raise ValueError(
                "interest_source beam needs retrieval beam: the search "
                f"{values['retrieval']} keeps no nodes depth by depth; accepted without a "
                "beam are history, retrieved and both"
            )
        width = values["beam_width"]
        widths = (width,) * len(nodes) if isinstance(width, int) else tuple(width)
        if len(widths) != len(nodes):
            raise ValueError(
                f"beam_width must be a positive integer, or one per depth of {nodes}, got {width}"
            )
        sequences = {
            "nodes_per_depth": nodes,
            "interest_thresholds": thresholds,
            "adapt_control": _sequence(values["adapt_control"]),
            "beam_width": widths,
        }
        settings = cls(**{**values, **sequences})
        controls = settings.adapt_control
        of_edges = [f"adapt_control {name}" for name in UNTRAINED if name in controls]
        if settings.vertices != "users":
            of_edges.append(f"vertices {settings.vertices}")
        if of_edges and not settings.pairs_are_edges:
            raise ValueError(
                f"{of_edges[0]} is of pairs as edges; accepted with it are pair_form vertices and "
                f"vertices+rows, got {settings.pair_form}"
            )
        return settings


def _sequence(value) -> tuple:
    """Returns a list as a tuple, and one value (--nodes_per_depth=200) as a tuple of one."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
