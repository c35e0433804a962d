"""The tables that a run and a stream end with."""

from collections.abc import Iterable

from recbole_hill.run.folder import CHOICE
from recbole_hill.run.rows import candidates, is_sampled
from recbole_hill.run.stages import own_seconds
from recbole_hill.run.text import printable
from recbole_hill.train.arms import FLOOR, MEANINGS


def arms_table(rows: list[dict]) -> str:
    """Returns one line per arm, and under the lines how the numbers were made.

    Args:
        rows: Rows of one run, as :func:`recbole_hill.pipeline.evaluate` makes them.
    """
    first = rows[0]
    names = list(first["metrics"])
    rows_of_table = {row["arm"]: row["metrics"] for row in rows}
    for name, metrics in first.get("floor", {}).items():
        if name not in rows_of_table:
            rows_of_table[f"floor: {name}"] = metrics
    width = max(map(len, rows_of_table))
    lines = [
        f"{'':{width}}  " + "  ".join(f"{name:>10}" for name in names),
        *(
            f"{label:{width}}  " + "  ".join(f"{metrics[name]:>10.4f}" for name in names)
            for label, metrics in rows_of_table.items()
        ),
        "",
        *_legend(rows_of_table),
        *_notes(rows),
        *(f"warning: {warning}" for warning in first.get("warnings", ())),
    ]
    return "\n".join(map(printable, lines))


def _legend(names: Iterable[str]) -> list[str]:
    """Returns what the arms and the floor of a table are; a model without arms needs no words."""
    meanings = MEANINGS | {f"floor: {name}": meaning for name, meaning in FLOOR.items()}
    known = [name for name in names if name in meanings]
    lines = [f"{name}: {meanings[name].replace('`', '')}" for name in known]
    return [*lines, ""] if lines else []


def _notes(rows: list[dict]) -> list[str]:
    first, stages = rows[0], rows[0]["stages"]
    stamp = " (test-selected)" if first["test_selected"] else ""
    mode = candidates(first)
    notes = [
        *([f"sampled evaluation: {mode}, never beside full ranking"] if is_sampled(mode) else ()),
        f"{first['dataset']} ({first['data_sha256'][:12]}), protocol {first['protocol']}{stamp}, "
        f"seed {first['seed']}, {first['device']}, commit {first['commit']}",
        "seconds: " + ", ".join(f"{name} {s:.1f}" for name, s in own_seconds(stages).items()),
    ]
    if "energy" in first:
        notes.append(_energy_note(first["energy"]))
    if "warm_start" in stages:
        notes.append(_warm_start_note(stages))
    if "pairs" in stages:
        per_depth = stages["pairs"]["per_depth"]
        counts = ", ".join(f"depth {depth}: {count:,}" for depth, count in per_depth.items())
        notes.append(f"<user, node> pairs: {counts or 'none'}")
    if CHOICE in stages:
        notes.append(f"HILL kept the {stages[CHOICE]['kept']} weights")
    if all("list_popularity" in row for row in rows) and len(rows) > 1:
        each = ", ".join(f"{row['arm']} {row['list_popularity']:.3f}" for row in rows)
        notes.append(f"popularity of the lists, mean ln(1 + train users of an item): {each}")
    for row in rows:
        if cost := row.get("retrieval"):
            notes.append(retrieval_note(cost))
    return notes


def _energy_note(used: dict | None) -> str:
    """Returns a run's energy and how it was got, in words."""
    if used is None:
        return "energy: not measured (docs/howto/runs.md says what measures it)"
    return f"energy: {used['wh']:.2f} Wh, {used['how']} by {used['by']}"


def _warm_start_note(stages: dict) -> str:
    """Returns, in words, what a run took over from an older one, and how far its index moved."""
    taken = stages["warm_start"]
    changes = "; ".join(
        f"{side}: {taken[f'{side}_kept']:,} kept, {taken[f'{side}_added']:,} added, "
        f"{taken[f'{side}_removed']:,} removed"
        for side in ("items", "users")
    )
    drift = stages.get("index", {}).get("drift", ())
    moved = ", ".join(f"{share:.2%} at depth {depth}" for depth, share in enumerate(drift, start=1))
    seen = taken.get("seen_before", {})
    if None in seen.values():
        seen_note = "; it is unknown how much of validation and test the old run trained on"
    elif seen:
        seen_note = (
            f"; the old run trained on {seen['valid']:.2%} of validation and "
            f"{seen['test']:.2%} of test"
        )
    else:
        seen_note = ""
    moved = f"; moved: {moved}" if moved else ""
    return f"continued from {taken['from']}; {changes}{moved}{seen_note}"


def retrieval_note(cost: dict) -> str:
    """Returns the recall and the cost of a search against exact search, as a sentence.

    Args:
        cost: The result of :func:`recbole_hill.adapt.retrieval_cost.retrieval_cost`.
    """
    search = cost.get("search", "beam")  # rows from before FAISS do not name the search
    recalls = {name.split("@")[1]: cost[name] for name in cost if name.startswith("index_recall@")}
    found = ", ".join(f"{share:.3f}" for share in recalls.values())
    # Rows from before items and nodes were counted apart have their sum alone.
    items = (
        f"scored {cost['items_fraction']:.1%} of the items and " if "items_fraction" in cost else ""
    )
    return (
        f"{search} search {items}found {found} of exact search's top {', '.join(recalls)}; "
        f"with its nodes it took {cost['scored_fraction']:.1%} of exact search's inner products"
    )


def stream_table(records: list) -> str:
    """Returns one line per slice of a stream.

    Args:
        records: The result of :func:`recbole_hill.labelled.stream.run_stream`.
    """
    head = f"{'slice':>5} {'rows':>9} {'NE':>8} {'AUC':>8} {'items':>8} {'added':>7} {'deleted':>8}"
    lines = [f"{head}  moved per depth"]
    for record in records:
        judged = [record.metrics.get(name) for name in ("ne", "auc")]
        shown = " ".join(f"{'-':>8}" if value is None else f"{value:>8.4f}" for value in judged)
        moved = ", ".join(f"{share:.1%}" for share in record.drift) or "-"
        lines.append(
            f"{record.number:>5} {record.rows:>9,} {shown} {record.items:>8,} {record.added:>7,} "
            f"{record.deleted:>8,}  {moved}"
        )
    return "\n".join(lines)
