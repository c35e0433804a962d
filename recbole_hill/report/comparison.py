"""Rows of many models as one Markdown table beside the numbers that a paper printed."""

from recbole_hill.config import read_properties
from recbole_hill.report.seeds import require_comparable, require_one_experiment, spread

#: What all rows of a table must share: numbers made otherwise do not compare.
_SHARED = ("dataset", "data_sha256", "protocol", "split_seed")


def comparison_table(rows: list[dict], table: str) -> str:
    """Returns one line per model, best first, with what was published for it and the difference.

    Args:
        rows: Rows of runs of several models on one dataset under one protocol. Seeds of a model are
            averaged if nothing else differs.
        table: Number of the paper's table, a file of ``properties/table``.

    Raises:
        ValueError: If there is no such table, or rows differ in what they must share.
    """
    published = read_properties("table", f"{table}.yaml")
    if not published:
        raise ValueError(f"table must be the number of a file in properties/table, got {table!r}")
    require_one_experiment(rows, _SHARED)
    groups = _by_model(rows)
    dataset, metrics = rows[0]["dataset"], published["metrics"]
    everything = {**published["rows"], **published["beyond"]}
    printed = any(dataset in facts for facts in everything.values())
    notes: list[str] = []

    columns = ["model", *metrics]
    columns += ["published", "difference"] if printed else []
    columns += ["training, s", "epochs", "commit"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    order = sorted(groups, key=lambda name: -_mean(groups[name], metrics[-1]))
    for name in order:
        facts = everything.get(name, {})
        cells = [name + (_mark(facts, published, notes) if printed else "")]
        cells += [spread([row["metrics"][m] for row in groups[name]]) for m in metrics]
        if printed:
            cells += _beside(facts, dataset, metrics, groups[name])
        cells += _cost(groups[name])
        lines.append("| " + " | ".join(cells) + " |")
    foot = [f"[{i}] {text}" for i, text in enumerate(notes, start=1)]
    missing = [name for name in published["rows"] if name not in groups]
    if missing:
        foot.append(f"Rows of Table {table} that are not here: {', '.join(missing)}.")
    return "\n".join([*lines, "", *_how(rows), *(f"- {line}" for line in foot)])


def _by_model(rows: list[dict]) -> dict[str, list[dict]]:
    groups: dict[str, list[dict]] = {}
    for row in rows:
        own = row["arm"] == row["model"]
        groups.setdefault(row["model"] if own else f"{row['model']}: {row['arm']}", []).append(row)
    for group in groups.values():
        require_comparable(group)
    return groups


def _mean(rows: list[dict], metric: str) -> float:
    return sum(row["metrics"][metric] for row in rows) / len(rows)


def _mark(facts: dict, published: dict, notes: list[str]) -> str:
    """Returns a footnote's mark, and keeps its text."""
    if "note" not in facts:
        return ""
    text = published["notes"][facts["note"]]
    if text not in notes:
        notes.append(text)
    return f" [{notes.index(text) + 1}]"


def _beside(facts: dict, dataset: str, metrics: list[str], rows: list[dict]) -> list[str]:
    """Returns the published numbers, and the relative difference of each."""
    if dataset not in facts:
        return ["–", ""]
    theirs = facts[dataset]
    ours = [_mean(rows, metric) for metric in metrics]
    # + 0.0: no "-0.0%".
    differences = [f"{round(a / b - 1, 3) + 0.0:+.1%}" for a, b in zip(ours, theirs, strict=True)]
    source = f" ({facts['source']})" if "source" in facts else ""
    return ["/".join(f"{v:.4f}"[1:] for v in theirs) + source, " / ".join(differences)]


def _cost(rows: list[dict]) -> list[str]:
    stages = [row["stages"].get("backbone", {}) for row in rows]
    seconds = sum(stage.get("seconds", 0) for stage in stages) / len(stages)
    epochs = sorted({str(stage.get("epochs", "")) for stage in stages})
    return [f"{seconds:,.0f}", ", ".join(epochs), str(rows[0]["commit"])]


def _how(rows: list[dict]) -> list[str]:
    first = rows[0]
    seeds = sorted({row["seed"] for row in rows})
    devices = sorted({row["device"] for row in rows})
    versions = sorted({", ".join(f"{n} {v}" for n, v in row["versions"].items()) for row in rows})
    stamp = " (**test-selected**)" if first["test_selected"] else ""
    return [
        f"- {first['dataset']} (data {first['data_sha256'][:12]}), protocol "
        f"`{first['protocol']}`{stamp}, seeds {', '.join(map(str, seeds))}, split seed "
        f"{first['split_seed']}",
        *(f"- {'; '.join(devices)}; {found}" for found in versions),
    ]
