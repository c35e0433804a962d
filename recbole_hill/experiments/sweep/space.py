"""Search spaces: which settings a sweep tries, as ``tuning/<Name>.yaml`` lists them.

A line per key, in one of four kinds::

    n_layers: {choice: [1, 2, 3, 4]}
    learning_rate: {log_uniform: [1.0e-4, 1.0e-2]}
    dropout_rate: {uniform: [0.0, 0.5]}
    window: {integer: [2, 20]}                # both ends included
    together:                                 # settings that only fit each other, chosen as one
      - {nodes_per_depth: [200], phi_dep: 1}
      - {nodes_per_depth: [200, 20], phi_dep: 2}
    per_dataset:                              # lines that replace the others on one dataset
      gowalla:
        n_layers: {choice: [3, 4]}
"""

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from recbole_hill.config.properties import read_yaml, tuning

TOGETHER = "together"
_KINDS = ("choice", "uniform", "log_uniform", "integer")

#: After this many draws in a row of settings that were drawn before, a range counts as used up.
_REPEATS = 1000


@dataclass(frozen=True)
class Dimension:
    """Settings that are chosen as one.

    Attributes:
        keys: The settings' names; more than one only for ``together``.
        kind: choice, uniform, log_uniform or integer.
        values: Of a choice, each value as a mapping of the keys; of the other kinds, the two
            bounds.
    """

    keys: tuple[str, ...]
    kind: str
    values: tuple

    @property
    def size(self) -> float:
        """The number of values; infinite for a continuous dimension."""
        if self.kind == "choice":
            return len(self.values)
        return self.values[1] - self.values[0] + 1 if self.kind == "integer" else math.inf

    def examples(self) -> list[tuple[str, object]]:
        """Returns keys with values such that every value fits if these do: all, or the bounds."""
        if self.kind == "choice":
            return [pair for values in self.values for pair in values.items()]
        return [(self.keys[0], value) for value in self.values]

    def capped(self, key: str, most: int) -> "Dimension":
        """Returns the dimension with ``most`` in the place of every larger value of a key."""
        if key not in self.keys:
            return self
        if self.kind == "choice":
            values = [{**each, key: min(each[key], most)} for each in self.values]
            return Dimension(self.keys, "choice", tuple(_distinct(values)))
        low, high = (min(value, most) for value in self.values)
        if low == high:
            return Dimension(self.keys, "choice", ({key: low},))
        return Dimension(self.keys, self.kind, (low, high))

    def draw(self, rng: np.random.Generator) -> dict:
        """Draws one value, as settings."""
        if self.kind == "choice":
            return self.values[int(rng.integers(len(self.values)))]
        low, high = self.values
        if self.kind == "integer":
            return {self.keys[0]: int(rng.integers(low, high, endpoint=True))}
        if self.kind == "uniform":
            value = rng.uniform(low, high)
        else:
            value = math.exp(rng.uniform(math.log(low), math.log(high)))
        # Four digits are as good as sixteen, and easier to read.
        return {self.keys[0]: min(max(float(f"{value:.4g}"), low), high)}


@dataclass(frozen=True)
class Space:
    """The settings that a sweep tries.

    Attributes:
        dimensions: Settings that are chosen independently; none for a model without a knob.
    """

    dimensions: tuple[Dimension, ...]

    @classmethod
    def of_model(cls, model: str, dataset: str) -> "Space":
        """Reads ``tuning/<model>.yaml``.

        Raises:
            FileNotFoundError: If the model has no such file.
        """
        file = tuning(f"{model}.yaml")
        if not file.is_file():
            raise FileNotFoundError(
                f"there is no tuning/{model}.yaml: give a search space of your own (--space=FILE)"
            )
        return cls.parse(read_yaml(file), dataset, f"tuning/{model}.yaml")

    @classmethod
    def of_file(cls, file: str | Path, dataset: str) -> "Space":
        """Reads a file of the format of ``tuning/<Name>.yaml``."""
        if not Path(file).is_file():
            raise FileNotFoundError(f"search space {file} does not exist")
        try:
            given = read_yaml(Path(file))
        except yaml.YAMLError as error:
            raise ValueError(f"search space {file} is not YAML: {error}") from error
        return cls.parse(given, dataset, str(file))

    @classmethod
    def parse(cls, given: dict | None, dataset: str, source: str = "space") -> "Space":
        """Reads a space from plain values.

        Args:
            given: The values of the YAML file; None or empty for a model without a knob.
            dataset: The dataset whose ``per_dataset`` lines count.
            source: The name of the space in an error.

        Raises:
            ValueError: If a line does not fit; the error names the source, the key, the value given
                and what is accepted.
        """
        if not isinstance(given, (dict, type(None))):
            raise ValueError(f"{source}: a search space is lines of key: {{kind: values}}")
        given = dict(given or {})
        given |= (given.pop("per_dataset", None) or {}).get(dataset, {})
        read = [
            _group(values, source) if key == TOGETHER else _dimension(key, values, source)
            for key, values in given.items()
        ]
        space = cls(tuple(read))
        for key in space.keys:
            if space.keys.count(key) > 1:
                raise ValueError(f"{source}: {key} is searched both alone and in {TOGETHER}")
        return space

    @property
    def keys(self) -> list[str]:
        """Every searched key."""
        return [key for dimension in self.dimensions for key in dimension.keys]

    @property
    def size(self) -> float:
        """The number of combinations: 1 if nothing is searched, infinite if a key is continuous."""
        return math.prod(dimension.size for dimension in self.dimensions)

    def without(self, fixed: dict) -> "Space":
        """Returns the space that is left when some keys are fixed.

        Raises:
            ValueError: If only a part of ``together`` is fixed.
        """
        left = []
        for dimension in self.dimensions:
            known = [key for key in dimension.keys if key in fixed]
            if known and len(known) < len(dimension.keys):
                raise ValueError(
                    f"{known[0]} is searched together with others: fix all of "
                    f"{', '.join(dimension.keys)}, or none"
                )
            if not known:
                left.append(dimension)
        return Space(tuple(left))

    def capped(self, key: str, most: int) -> "Space":
        """Returns the space with ``most`` in the place of every larger value of a key."""
        return Space(tuple(dimension.capped(key, most) for dimension in self.dimensions))

    def grid(self) -> list[dict]:
        """Returns every combination, the last key varying fastest.

        Raises:
            ValueError: If a key is not a choice.
        """
        for dimension in self.dimensions:
            if dimension.kind != "choice":
                raise ValueError(
                    f"strategy grid needs a choice for every key, {dimension.keys[0]} is "
                    f"{dimension.kind}; accepted there are random and asha"
                )
        cells = itertools.product(*(dimension.values for dimension in self.dimensions))
        return _distinct([_merged(cell) for cell in cells])

    def draw(self, n: int, seed: int) -> list[dict]:
        """Draws distinct settings; a longer draw begins with the shorter one.

        Args:
            n: How many settings; a smaller space gives all of its settings.
            seed: Seed of the draw.
        """
        rng, drawn, repeats = np.random.default_rng(seed), {}, 0
        # Four digits leave a narrow range with few values, although it is continuous.
        while len(drawn) < min(n, self.size) and repeats < _REPEATS:
            settings = _merged([dimension.draw(rng) for dimension in self.dimensions])
            name = json.dumps(settings, sort_keys=True)
            repeats = repeats + 1 if name in drawn and math.isinf(self.size) else 0
            drawn.setdefault(name, settings)
        return list(drawn.values())

    def plain(self) -> list[dict]:
        """Returns the space as plain values, so that two spaces can be compared."""
        return [
            {"keys": list(d.keys), "kind": d.kind, "values": list(d.values)}
            for d in self.dimensions
        ]


def _dimension(key: str, given, source: str) -> Dimension:
    if not isinstance(given, dict) or len(given) != 1 or next(iter(given)) not in _KINDS:
        raise ValueError(
            f"{source}: {key} must be one of {{choice: [...]}}, {{uniform: [low, high]}}, "
            f"{{log_uniform: [low, high]}}, {{integer: [low, high]}}, got {given!r}"
        )
    kind, values = next(iter(given.items()))
    if not isinstance(values, list) or not values:
        raise ValueError(f"{source}: {key}: {kind} must be a list, got {values!r}")
    if kind == "choice":
        return Dimension((key,), kind, tuple(_distinct([{key: value} for value in values])))
    number = int if kind == "integer" else (int, float)
    fits = len(values) == 2 and all(
        isinstance(v, number) and not isinstance(v, bool) for v in values
    )
    fits = fits and all(map(math.isfinite, values))
    if not fits or values[0] >= values[1] or (kind == "log_uniform" and values[0] <= 0):
        what = {"integer": "integers", "log_uniform": "numbers above 0"}.get(kind, "numbers")
        raise ValueError(f"{source}: {key}: {kind} must be two rising {what}, got {values!r}")
    return Dimension((key,), kind, tuple(values))


def _group(given, source: str) -> Dimension:
    fits = isinstance(given, list) and given and all(isinstance(each, dict) for each in given)
    if not fits or any(each.keys() != given[0].keys() for each in given):
        raise ValueError(
            f"{source}: {TOGETHER} must list mappings of the same keys, such as "
            f"[{{a: 1, b: 2}}, {{a: 3, b: 4}}], got {given!r}"
        )
    return Dimension(tuple(given[0]), "choice", tuple(_distinct(given)))


def _merged(parts) -> dict:
    return {key: value for part in parts for key, value in part.items()}


def _distinct(settings: list[dict]) -> list[dict]:
    return list({json.dumps(each, sort_keys=True): each for each in settings}.values())
