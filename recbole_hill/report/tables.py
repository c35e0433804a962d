"""A run's rows as the table that it ends with."""


def arms_table(rows: list[dict]) -> str:
    """Returns one line per compared arm, and under it how the numbers were made.

    Args:
        rows: Rows of one run, as :func:`recbole_hill.quick_start.evaluate` makes them.
    """
    first = rows[0]
    names = list(first["metrics"])
    width = max(len(row["arm"]) for row in rows)
    head = f"{'':{width}}  " + "  ".join(f"{name:>10}" for name in names)
    lines = [
        head,
        *(
            f"{row['arm']:{width}}  "
            + "  ".join(f"{row['metrics'][name]:>10.4f}" for name in names)
            for row in rows
        ),
        "",
        *_notes(rows),
    ]
    return "\n".join(lines)


def _notes(rows: list[dict]) -> list[str]:
    first, stages = rows[0], rows[0]["stages"]
    stamp = " (test-selected)" if first["test_selected"] else ""
    notes = [
        f"{first['dataset']} ({first['data_sha256'][:12]}), protocol {first['protocol']}{stamp}, "
        f"seed {first['seed']}, {first['device']}, commit {first['commit']}",
        "seconds: " + ", ".join(f"{name} {fact['seconds']:.1f}" for name, fact in stages.items()),
    ]
    if "pairs" in stages:
        per_depth = stages["pairs"]["per_depth"]
        counts = ", ".join(f"depth {depth}: {count:,}" for depth, count in per_depth.items())
        notes.append(f"<user, node> pairs: {counts or 'none'}")
    if "HILL" in stages:
        notes.append(f"HILL kept the {stages['HILL']['kept']} weights")
    for row in rows:
        if found := row.get("retrieval"):
            search = found.get("search", "beam")  # rows before there was FAISS do not say
            notes.append(f"{search} search: {retrieval_note(found)}")
    return notes


def retrieval_note(found: dict) -> str:
    """Returns what a search loses and costs against exact search, in words.

    Args:
        found: What :func:`recbole_hill.evaluation.retrieval.compare_retrievers` measured.
    """
    recalls = ", ".join(
        f"{value:.4f} of exact top-{name.split('@')[1]}"
        for name, value in found.items()
        if name.startswith("index_recall@")
    )
    return f"{recalls}, for {found['scored_fraction']:.2%} of its inner products"
