"""Several seeds' rows as one Markdown table: mean and spread per arm."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from recbole_hill.report.markdown import note_list, pipe_table
from recbole_hill.report.tables import retrieval_note
from recbole_hill.run.folder import ROWS
from recbole_hill.run.hashes import changed_files
from recbole_hill.run.jsonl import rows_of
from recbole_hill.run.rows import candidates, is_sampled
from recbole_hill.run.stages import own_seconds

#: Fields that rows must share to be averaged.
_SHARED = ("model", "dataset", "data_sha256", "protocol", "split_seed", "commit", "versions")
_PER_RUN = ("seed", "run_dir", "checkpoint_dir", "threads", "backbone_from", "warm_start")


def unchanged(folders: Sequence[str | Path]) -> tuple[list[str | Path], list[str]]:
    """Returns the runs whose rows are as the run wrote them, and a note for each of the others.

    A row that was edited is no result: it is left out, and the table says so.

    Raises:
        ValueError: If no run is left.
    """
    changed = [folder for folder in folders if changed_files(_run_of(folder), ROWS)]
    notes = [f"**Left out**: rows of {folder} were changed after the run" for folder in changed]
    if folders and len(changed) == len(folders):
        raise ValueError(f"rows of {changed[0]} were changed after the run; --resume makes them")
    return [folder for folder in folders if folder not in changed], notes


def _run_of(folder: str | Path) -> Path:
    """Returns a run's folder, also where its file of rows is named."""
    return Path(folder).parent if Path(folder).name == ROWS else Path(folder)


def read_rows(folders: list[str | Path]) -> list[dict]:
    """Reads the rows of finished runs.

    Args:
        folders: Runs' folders, or files of rows such as ``results/ml-100k/hill-holdout.jsonl``.

    Raises:
        FileNotFoundError: If a folder holds no rows.
        ValueError: If a line is no row of results; the error names file and line.
    """
    rows = []
    for folder in folders:
        file = Path(folder)
        file = file if file.suffix == ".jsonl" else file / ROWS
        if not file.is_file():
            raise FileNotFoundError(
                f"{file} does not exist: {folder} is not a finished run's folder or a file of rows"
            )
        rows += rows_of(file)
    return rows


def seeds_table(rows: list[dict]) -> str:
    """Returns mean and sample standard deviation over seeds, one line per arm, in Markdown.

    Args:
        rows: Rows of runs that differ in their seed alone.

    Raises:
        ValueError: If the rows differ in anything else, or a seed occurs twice.
    """
    require_comparable(rows)
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    names = list(rows[0]["metrics"])
    lines = [
        [arm, *(spread([r["metrics"][n] for r in rows if r["arm"] == arm]) for n in names)]
        for arm in arms
    ]
    return "\n".join([pipe_table(["", *names], lines), "", *note_list(_notes(rows))])


def require_one_experiment(rows: list[dict], shared: Sequence[str]) -> None:
    """Refuses rows that do not belong in one table.

    Args:
        rows: The rows.
        shared: The fields that all rows must agree on.

    Raises:
        ValueError: If there are no rows, or they differ in one of these fields.
    """
    if not rows:
        raise ValueError("there are no rows to report")
    for key in shared:
        values = {str(row[key]) for row in rows}
        if len(values) > 1:
            raise ValueError(f"rows of different {key} do not compare: {', '.join(sorted(values))}")


def require_comparable(rows: list[dict]) -> None:
    """Refuses rows that must not be averaged.

    Raises:
        ValueError: If they differ in more than the seed, or a seed occurs twice.
    """
    if not rows:
        raise ValueError("there are no rows to report")
    first = identity(rows[0])
    for row in rows[1:]:
        other = identity(row)
        for key in {**first, **other}:  # a setting may be in one of the two only
            if other.get(key) != first.get(key):
                raise ValueError(
                    f"rows of different {key} are never averaged: {first.get(key)!r} and "
                    f"{other.get(key)!r}"
                )
    seen = [(row["arm"], row["seed"]) for row in rows]
    for pair in seen:
        if seen.count(pair) > 1:
            raise ValueError(f"{pair[0]!r} with seed {pair[1]} occurs twice")
    per_arm = {arm: sorted(s for a, s in seen if a == arm) for arm, _ in seen}
    if len({tuple(seeds) for seeds in per_arm.values()}) > 1:
        raise ValueError(f"the arms were not run with the same seeds: {per_arm}")


def identity(row: dict) -> dict:
    """Returns the values that a row must share with another to be averaged with it.

    A run that a row started from counts by its model, not by its folder; a run that it continues,
    by its epochs.
    """
    settings = {key: v for key, v in row["settings"].items() if key not in _PER_RUN}
    started_from = row["stages"].get("backbone", {}).get("started_from", {})
    continued = row["stages"].get("warm_start", {}).get("epochs_before", 0)
    shared = {key: row[key] for key in _SHARED}
    return {**shared, **settings, **started_from, "warm_start": continued}


def spread_of(tables: Sequence[dict], name: str) -> str:
    """Returns :func:`spread` of one value of each table; a dash if a table has no such value."""
    return spread([table[name] for table in tables]) if all(name in t for t in tables) else "–"


def spread(values: list[float], digits: int = 4) -> str:
    """Returns mean and sample standard deviation; for one value, the value."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"


def differences(rows: list[dict], base: dict[int, dict], metric: str) -> list[float]:
    """Returns, in per cent, by how much rows differ in a metric from the base row of their seed.

    Args:
        rows: Rows that differ in their seed.
        base: Base rows by seed; rows of other seeds are left out.
        metric: The metric.
    """
    return [
        100 * (row["metrics"][metric] / base[row["seed"]]["metrics"][metric] - 1)
        for row in rows
        if row["seed"] in base
    ]


def how_made(row: dict, seeds: list[int]) -> list[str]:
    """Returns the data, protocol, seeds and versions of numbers, as a table's first footnotes."""
    stamp = " (**test-selected**)" if row["test_selected"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
    return [
        f"{row['model']} on {row['dataset']} (data {row['data_sha256'][:12]}), protocol "
        f"`{row['protocol']}`{stamp}, seeds {', '.join(map(str, seeds))}, "
        f"split seed {row['split_seed']}, commit {row['commit']}",
        f"{row['device']}; {versions}",
    ]


def sampled_notes(rows: list[dict]) -> list[str]:
    """Returns a note for each mode of sampled evaluation among the rows."""
    return [
        f"**Sampled evaluation**: `{mode}` ranks test items among drawn items, not among all; "
        "its numbers never compare with those of full ranking"
        for mode in sorted(filter(is_sampled, {candidates(row) for row in rows}))
    ]


def _notes(rows: list[dict]) -> list[str]:
    runs = [row for row in rows if row["arm"] == rows[0]["arm"]]
    notes = how_made(rows[0], [row["seed"] for row in runs])
    notes += sampled_notes(rows)
    for row in runs:
        stages = row["stages"]
        seconds = ", ".join(f"{name} {taken:.0f} s" for name, taken in own_seconds(stages).items())
        note = f"seed {row['seed']}: {seconds}; peak {row['peak_memory_mib']:,} MiB"
        if "pairs" in stages:
            per_depth = stages["pairs"]["per_depth"].items()
            counts = ", ".join(f"{count:,} at depth {depth}" for depth, count in per_depth)
            note += f"; pairs: {counts}; HILL kept the {stages['HILL']['kept']} weights"
        notes.append(note)
    for row in rows:
        if cost := row.get("retrieval"):
            notes.append(f"seed {row['seed']}: {retrieval_note(cost)}")
    return notes
