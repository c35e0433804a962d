"""Measures this package beside its peers, and writes one table.

    python benchmarks/run.py [--rows=propagation,evaluation] [--dataset=gowalla] [--repeats=5]

Ours and the peer take turns in one process; the first turn of each does not count. Costs are
processor seconds (of all threads together), which other work on the machine hardly changes. Rows
that were measured earlier stay in the table, from the JSON file beside it, each with its date and
commit.
"""

import argparse
import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import faiss
import numpy
import recbole
import scipy
import torch
from rows import NAMES
from rows.row import Row, Setting
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from recbole_hill.report.markdown import pipe_table
from recbole_hill.run.files import atomic_path
from recbole_hill.run.provenance import commit

COLUMNS = (
    "what",
    "peer",
    "ours",
    "peer's",
    "ratio (range)",
    "target",
    "met",
    "the same values?",
    "of",
)

ABOUT = """\
Costs are seconds of the processor, ours and the peer's taken in turns in one process (a row's \
median, and of the ratios the smallest and largest); the machine did other work meanwhile (load \
{load:.1f}), which these seconds do not count, though it takes caches and memory. Both sides have \
the C library's memory as it is: that a run of ours keeps freed memory, which would speed up the \
peers too, is not in these figures. `at least` is the peer's cost over ours, `at most` ours over \
the peer's. A row whose two sides disagree in value fails instead of appearing."""


def measure(row: Row, repeats: int) -> dict:
    """Prepares, checks and measures one row.

    Args:
        row: The row.
        repeats: Number of pairs of turns.

    Returns:
        The row's entries in the table, as plain data.
    """
    row.prepare()
    checked = row.check()
    if row.warm_up:
        row.cost(row.ours), row.cost(row.peer)
    pairs = []
    for _ in range(repeats):
        pairs.append((row.cost(row.ours), row.cost(row.peer)))
    ours, peer = (statistics.median(costs) for costs in zip(*pairs, strict=True))
    if row.at_least is not None:
        ratios = [theirs / own for own, theirs in pairs]
        target = f"at least {row.at_least:g} times faster"
        met = statistics.median(ratios) >= row.at_least
    elif row.at_most is not None:
        ratios = [own / theirs for own, theirs in pairs]
        target = f"at most {row.at_most:g} times the cost"
        met = statistics.median(ratios) <= row.at_most
    else:
        ratios = [own / theirs for own, theirs in pairs]
        target = f"at most {row.limit:g} {row.unit}"
        met = ours <= row.limit
    return {
        "what": row.what,
        "peer": row.beside,
        "ours_cost": ours,
        "peer_cost": peer,
        "unit": row.unit,
        "ratios": ratios,
        "target": target,
        "met": met,
        "check": checked,
        "note": row.note(),
        "date": date.today().isoformat(),
        "commit": commit(),
        "repeats": repeats,
    }


def table(stored: dict[str, list[dict]], options: argparse.Namespace, load: float) -> str:
    """Returns the Markdown page of all rows measured so far."""
    lines = [
        "# Speed and memory beside the peers",
        "",
        f"{machine(options.threads)}. {ABOUT.format(load=load)}",
        "",
        "```bash",
        f"python benchmarks/run.py --dataset={options.dataset} --repeats={options.repeats} "
        f"--threads={options.threads}",
        "```",
        "",
    ]
    measured = []
    rows = [row for name in NAMES for row in stored.get(name, [])]
    for row in rows:
        low, middle, high = min(row["ratios"]), statistics.median(row["ratios"]), max(row["ratios"])
        cells = [
            row["what"],
            row["peer"],
            quantity(row["ours_cost"], row["unit"]),
            quantity(row["peer_cost"], row["unit"]),
            f"{middle:.2f} ({low:.2f}-{high:.2f})",
            row["target"],
            "yes" if row["met"] else "**no**",
            row["check"],
            f"{row['date']}, {row['commit']}, {row['repeats']} pairs",
        ]
        measured.append(cells)
    notes = [row["note"] for row in rows if row["note"]]
    return "\n".join(
        [*lines, pipe_table(COLUMNS, measured), "", *(f"- {note}" for note in notes), ""]
    )


def quantity(value: float, unit: str) -> str:
    """Returns a cost with three significant digits."""
    places = max(0, 2 - int(numpy.floor(numpy.log10(max(value, 1e-9)))))
    return f"{value:,.{min(places, 4)}f} {unit}"


def machine(threads: int) -> str:
    """Returns the processor, the threads and the versions, in words."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    packages = {"recbole": recbole, "torch": torch, "numpy": numpy, "scipy": scipy, "faiss": faiss}
    versions = ", ".join(f"{name} {module.__version__}" for name, module in packages.items())
    return f"{len(names)} cores of {names[0]}, {threads} thread(s) used; {versions}"


def main() -> None:
    """Reads the command line, measures, prints and writes the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default=",".join(NAMES), help="names, by commas (all)")
    parser.add_argument("--dataset", default="gowalla")
    parser.add_argument("--data_path", default="dataset", help="where `prepare` wrote (dataset)")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of turns (5)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--output", default="results/benchmarks.md")
    options = parser.parse_args()
    names = options.rows.split(",")
    if unknown := set(names) - set(NAMES):
        parser.error(f"--rows: {', '.join(sorted(unknown))}; accepted are {', '.join(NAMES)}")
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    output = Path(options.output)
    store = output.with_suffix(".json")
    stored = json.loads(store.read_text(encoding="utf-8")) if store.is_file() else {}
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(options.threads):
        setting = Setting(options.dataset, options.data_path, Path(folder))
        for name in tqdm(names, unit="row"):
            kinds = importlib.import_module(f"rows.{name}").ROWS
            started = time.perf_counter()
            stored[name] = [measure(kind(setting), options.repeats) for kind in kinds]
            tqdm.write(f"{name}: {time.perf_counter() - started:.0f} s")
            output.parent.mkdir(parents=True, exist_ok=True)
            page = table(stored, options, os.getloadavg()[0])
            for path, text in ((store, json.dumps(stored, indent=1)), (output, page)):
                with atomic_path(path) as temporary:
                    temporary.write_text(text + "\n" if path is store else text, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
