"""Rows of results: what a row must hold before it is averaged, compared or shown."""

from collections.abc import Collection, Mapping

from recbole_hill.checks import is_finite_number

#: What every row holds, by kind.
_TEXTS = ("model", "dataset", "data_sha256", "protocol", "device", "arm")
_WHOLE = ("seed", "split_seed")
_TABLES = ("settings", "stages", "metrics", "versions")
_NUMBERS = ("peak_memory_mib", "test_seconds")
#: A row without these cannot be shown.
REQUIRED = (*_TEXTS, *_WHOLE, *_TABLES, "test_selected", "commit", "peak_memory_mib")


def row_fault(row: object, required: Collection[str] = REQUIRED) -> str | None:
    """Returns what is wrong with a row, naming the key and the value; None for a sound row.

    A row comes from a file that may be damaged, edited, or of another program. No text, NaN or
    infinity of it may reach a mean.

    Args:
        row: What stands in the file.
        required: Keys that the row must have.
    """
    if not isinstance(row, dict):
        return f"a row must be an object, got {row!r}"
    if missing := [key for key in required if key not in row]:
        return f"not a row of results: it has no {missing[0]}"
    for keys, kind, name in (
        (_TEXTS, str, "a text"),
        (_WHOLE, int, "a whole number"),
        (_TABLES, dict, "an object"),
        (("commit", "command"), (str, type(None)), "a text"),
        (("retrieval", "serving", "floor"), dict, "an object"),
        (("energy",), (dict, type(None)), "an object"),
    ):
        for key in keys:
            if key in row and not isinstance(row[key], kind):
                return f"{key} must be {name}, got {row[key]!r}"
    numbers = {key: row[key] for key in _NUMBERS if key in row}
    numbers |= {f"metrics {name}": value for name, value in row.get("metrics", {}).items()}
    for method, reached in row.get("floor", {}).items():
        if not isinstance(reached, dict):
            return f"floor {method} must be an object, got {reached!r}"
        numbers |= {f"floor {method} {name}": value for name, value in reached.items()}
    for stage, about in row.get("stages", {}).items():
        if not isinstance(about, dict):
            return f"stage {stage} must be an object, got {about!r}"
        timed = ("seconds", "trained_seconds", "epochs")
        numbers |= {f"{key} of stage {stage}": about[key] for key in timed if key in about}
    if row.get("energy"):
        numbers["energy wh"] = row["energy"].get("wh")
    for part in ("retrieval", "serving"):
        for name, value in row.get(part, {}).items():
            if isinstance(value, float):  # other values are counts, names and lists
                numbers[f"{part} {name}"] = value
    for name, value in numbers.items():
        if not is_finite_number(value):
            return f"{name} must be a finite number, got {value!r}"
    return None


def candidates(row: Mapping) -> str:
    """Returns what a row's test items are ranked among: ``full`` (every item), ``uni100``, ...

    A model of labels ranks nothing: ``labeled``.
    """
    return row.get("candidates") or candidates_of(row["settings"])


def candidates_of(settings: Mapping) -> str:
    """Returns the same of a run's settings: the mode of ``eval_args`` for the test set."""
    arguments = settings.get("eval_args")
    mode = arguments.get("mode", "full") if isinstance(arguments, Mapping) else "full"
    return str(mode.get("test", "full") if isinstance(mode, Mapping) else mode)


def is_sampled(mode: str) -> bool:
    """Returns whether test items are ranked among drawn items, and not among all."""
    return mode not in ("full", "labeled")
