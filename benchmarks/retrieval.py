"""Recall, speed, size and cost of HILL's search beside FAISS's, on the same vectors in one run.

    python benchmarks/retrieval.py --items=1000000 --output=results/retrieval
    python benchmarks/retrieval.py --checkpoint=saved/HILL-gowalla-... --nodes=640,32
    python benchmarks/retrieval.py --grow=10000,100000,1000000 --searchers=flat,ivf,hill-faiss

Prints a Markdown table with every searcher at the least width at which it finds at least --target
of the exact lists. --output also writes every point as JSON, and draws the curves. --grow prints
one table per size, and the growth of HILL-FAISS's cost with the size; it measures no other widths.
"""

import argparse
import gc
import json
import math
import resource
import sys
import warnings
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import faiss
import numpy as np
import torch
from measure import BATCH, Meter, Point, Queries, best, seen_part
from searchers import HNSW_MOST_ITEMS, SEARCHERS, Flat, HillFaissBeam, IvfFlat, Setting
from synthetic_items import Catalogue
from tqdm import tqdm

from recbole_hill.report.markdown import pipe_table
from recbole_hill.retrieval.exact import ExactRetriever

COLUMNS = (
    "searcher",
    "width",
    "recall",
    "scored",
    "users / s (slowest-fastest)",
    "x Flat",
    "x IVFFlat",
    "ms, one user (p99)",
    "build s",
    "MiB",
)

#: Searchers that always run on a growing catalogue.
GROWING = ("flat", "hill-faiss")


def made(n_items: int, options: argparse.Namespace) -> tuple[Setting, Queries]:
    """Draws a catalogue and its users; the exact lists are FAISS Flat's."""
    catalogue = Catalogue(n_items, options.dim, options.seed)
    setting = _setting(catalogue.matrix(progress=True), options)
    users = catalogue.users(options.queries)
    flat = Flat(setting)
    blocks = tqdm(range(0, len(users), BATCH), desc="exact lists", leave=False)
    truth = [flat.find(users[start : start + BATCH], options.k)[0] for start in blocks]
    return setting, Queries(users, np.concatenate(truth))


def trained(options: argparse.Namespace) -> tuple[Setting, Queries]:
    """Reads a finished run's vectors, its index if it has one, and its users' seen items."""
    from recbole_hill.serve.loaded_run import LoadedRun

    served = LoadedRun.load(options.checkpoint)
    if served.vectors is None:
        raise ValueError(
            f"--checkpoint={options.checkpoint}: its model has no embeddings to search"
        )
    users, items = (part.float().cpu() for part in served.vectors)
    items = items[1:].contiguous()  # row 0 is padding
    rng = np.random.default_rng(options.seed)
    asked = torch.from_numpy(rng.permutation(len(users) - 1)[: options.queries] + 1)
    rows, ids = served.seen(asked)
    order = torch.argsort(rows, stable=True)
    seen = (rows[order], ids[order] - 1)
    index = served.index
    if index is not None:
        index = index.refreshed(items.numpy())
    setting = _setting(items.numpy(), options, index)
    exact, truth = ExactRetriever(items), []
    for start in tqdm(range(0, len(asked), 512), desc="exact lists", leave=False):
        part = users[asked[start : start + 512]], options.k, seen_part(seen, start, start + 512)
        truth.append(exact.search(*part)[1].numpy())
    return setting, Queries(users[asked].numpy(), np.concatenate(truth), seen)


def _setting(items: np.ndarray, options: argparse.Namespace, index=None) -> Setting:
    nodes = options.nodes or default_nodes(len(items))
    return Setting(
        items,
        nodes if index is None else index.nodes_per_depth,
        seed=options.seed,
        points=options.points,
        iterations=options.iterations,
        own_index=index,
        progress=True,
    )


def default_nodes(n_items: int) -> tuple[int, int]:
    """Returns about 4 sqrt(I) nodes at depth 1, as FAISS advises, and about the root above them."""
    lists = 2 ** round(math.log2(4 * math.sqrt(n_items)))
    return min(lists, n_items), max(2, 2 ** round(math.log2(lists) / 2))


def compare(
    setting: Setting, queries: Queries, options: argparse.Namespace, curves: bool = True
) -> dict:
    """Measures every searcher; each is built, measured and deleted before the next.

    Args:
        setting: What every searcher is built from.
        queries: The users.
        options: Options of the command line.
        curves: Whether to measure every width, or only the least width that reaches the target.

    Returns:
        ``points`` of all searchers, and per searcher ``best``, ``seconds``, ``mib`` and ``unit``.
    """
    meter = Meter(queries, options.k, options.seconds, singles=options.singles)
    points, reports = [], {}
    bar = tqdm(options.searchers, unit="searcher")
    for key in bar:
        kind = SEARCHERS[key]
        if key == "hnsw" and len(setting.items) > HNSW_MOST_ITEMS:
            reports[kind.name] = {"skipped": f"over {HNSW_MOST_ITEMS:,} items: hours to build here"}
            continue
        bar.set_postfix_str(f"building {kind.name}")
        searcher = kind(setting)
        bar.set_postfix_str(f"measuring {kind.name}")
        if curves:
            measured = meter.sweep(searcher, options.target)
        else:
            least = meter.least(searcher, options.target)
            measured = [] if least is None else [least]
        points += measured
        reports[kind.name] = {
            "best": best(measured, options.target),
            "seconds": searcher.seconds,
            "mib": searcher.mib,
            "unit": searcher.unit,
        }
        # Printed at once, in case the run is stopped.
        tqdm.write(f"{kind.name}: {reports[kind.name]['best']}", file=sys.stderr)
        del searcher
        gc.collect()
    return {"points": points, "searchers": reports}


def table(comparison: dict, setting: Setting, options: argparse.Namespace) -> str:
    """Returns the Markdown table of the best points."""
    n_items = len(setting.items)
    rates = {
        name: report["best"].rate
        for name, report in comparison["searchers"].items()
        if report.get("best")
    }
    title = (
        f"{n_items:,} items x {setting.items.shape[1]}, nodes {list(setting.nodes)}, "
        f"recall@{options.k} >= {options.target:g} of exact, {options.threads} threads"
    )
    lines = []
    for name, report in comparison["searchers"].items():
        point = report.get("best")
        if point is None:
            reason = report.get("skipped", "does not reach the recall")
            lines.append([name, reason, *[""] * (len(COLUMNS) - 2)])
            continue
        ratios = [
            f"{point.rate / rates[peer]:.2f}" if peer in rates else "-"
            for peer in (Flat.name, IvfFlat.name)
        ]
        cells = [
            "all" if report["unit"] == "items" else f"{point.width} {report['unit']}",
            f"{point.recall:.4f}",
            f"{100 * point.scored / n_items:.3g} %",
            f"{point.rate:,.0f} ({point.rates[0]:,.0f}-{point.rates[1]:,.0f})",
            *ratios,
            f"{point.median:.3g} ({point.p99:.3g})",
            "-" if math.isnan(report["seconds"]) else f"{report['seconds']:,.1f}",
            f"{report['mib']:,.1f}",
        ]
        lines.append([name, *cells])
    return f"{title}\n\n{pipe_table(COLUMNS, lines)}"


def grow(sizes: list[int], options: argparse.Namespace) -> tuple[list[dict], list[str]]:
    """Compares the searchers at each size of the catalogue.

    Returns:
        For each size the scored items and the latency of HILL-FAISS and Flat; and the sizes'
        tables.
    """
    rows, tables = [], []
    for n_items in sizes:
        setting, queries = made(n_items, options)
        comparison = compare(setting, queries, options, curves=False)
        tables.append(table(comparison, setting, options))
        ours, flat = (comparison["searchers"][kind.name] for kind in (HillFaissBeam, Flat))
        if ours["best"] is None:
            raise ValueError(f"--target={options.target:g} is not reached at {n_items} items")
        size = {"items": n_items, "nodes": setting.nodes, "build_seconds": ours["seconds"]}
        exact = {"flat_median": flat["best"].median, "flat_rate": flat["best"].rate}
        rows.append({**size, **asdict(ours["best"]), **exact})
        del setting
        gc.collect()
    return rows, tables


def growth_table(rows: list[dict]) -> str:
    """Returns the Markdown table of a growing catalogue, and a line on each slope."""
    from plots import slope

    lines = [
        "| items | nodes | kept | recall | scored a user | ms | ms, Flat | users / s | build s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [f"{row['items']:,}", str(list(row["nodes"])), str(row["width"])]
        cells += [f"{row['recall']:.4f}", f"{row['scored']:,.0f}", f"{row['median']:.3g}"]
        cells += [f"{row['flat_median']:.3g}", f"{row['rate']:,.0f}"]
        lines.append("| " + " | ".join([*cells, f"{row['build_seconds']:,.1f}"]) + " |")
    if len(rows) > 1:
        items = [row["items"] for row in rows]
        for key, what in (("scored", "scored items"), ("median", "latency")):
            power = slope(items, [row[key] for row in rows])
            verdict = "sublinear" if power < 1 else "NOT sublinear"
            lines += ["", f"{what} grow with items^{power:.2f}: {verdict}"]
    return "\n".join(lines)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = parser.add_argument_group("vectors")
    data.add_argument("--items", type=int, default=100_000, help="made items (100000)")
    data.add_argument("--dim", type=int, default=64, help="width of made vectors (64)")
    data.add_argument("--queries", type=int, default=10_000, help="users to search for (10000)")
    data.add_argument("--seed", type=int, default=0, help="of the vectors and every k-means (0)")
    data.add_argument(
        "--checkpoint",
        metavar="RUN",
        help="folder of a finished run: its users, items, index, and seen items to leave out "
        "(made users have seen nothing)",
    )
    data.add_argument(
        "--grow",
        type=_numbers,
        metavar="SIZES",
        help="made catalogues of these sizes, such as 10000,100000: how HILL's cost grows",
    )
    index = parser.add_argument_group("indices")
    index.add_argument(
        "--nodes",
        type=_numbers,
        help="nodes per depth, finest first, such as 4096,64; the first is also the number of "
        "FAISS's lists (about 4 sqrt(items), and its root)",
    )
    index.add_argument("--points", type=int, default=256, help="k-means points a node (256)")
    index.add_argument("--iterations", type=int, default=20, help="of every k-means (20)")
    index.add_argument(
        "--searchers",
        type=_searchers,
        help=f"of {','.join(SEARCHERS)} (all; with --grow {','.join(GROWING)}, always measured)",
    )
    clock = parser.add_argument_group("measuring")
    clock.add_argument("--k", type=int, default=20, help="list length (20)")
    clock.add_argument("--target", type=float, default=0.95, help="recall to reach (.95)")
    clock.add_argument("--threads", type=int, default=2, help="CPU threads (2)")
    clock.add_argument("--seconds", type=float, default=10, help="for 5 repeats at a width (10)")
    clock.add_argument("--singles", type=int, default=300, help="searches for one user (300)")
    clock.add_argument("--output", type=Path, metavar="DIR", help="write table, JSON and curves")
    return parser.parse_args(arguments)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _searchers(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in SEARCHERS:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(SEARCHERS)}")
    return names


def _write(options: argparse.Namespace, name: str, text: str, record: dict) -> Path | None:
    """Writes table and numbers if asked to; returns the path, without suffix, for the curves."""
    if options.output is None:
        return None
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / name
    record["options"] = {key: value for key, value in vars(options).items() if key != "output"}
    path.with_suffix(".md").write_text(text + "\n", encoding="utf-8")
    as_plain = {"default": lambda value: asdict(value) if isinstance(value, Point) else str(value)}
    path.with_suffix(".json").write_text(json.dumps(record, indent=1, **as_plain), encoding="utf-8")
    return path


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line, measures, prints and writes the results."""
    options = _options(arguments)
    warnings.filterwarnings("ignore")
    faiss.omp_set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    if options.grow:
        options.searchers = [*dict.fromkeys((*(options.searchers or ()), *GROWING))]
        rows, tables = grow(sorted(options.grow), options)
        text = "\n\n".join([*tables, growth_table(rows)])
        path = _write(options, f"growth-{rows[-1]['items']}", text, {"rows": rows})
    else:
        options.searchers = options.searchers or list(SEARCHERS)
        setting, queries = trained(options) if options.checkpoint else made(options.items, options)
        comparison = compare(setting, queries, options)
        text = table(comparison, setting, options)
        path = _write(options, f"retrieval-{len(setting.items)}", text, comparison)
    print(text)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak memory of the process: {peak:.1f} GiB")
    if path is not None:
        import plots

        if options.grow:
            plots.growth(rows, options.target, options.k, path)
        else:
            plots.curves(comparison["points"], len(setting.items), options.k, options.target, path)
        print(f"written: {path}.md, .json, .svg, .png")


if __name__ == "__main__":
    main()
