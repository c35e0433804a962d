"""The cost of learning an index, beside FAISS's k-means alone, on the same vectors.

    python benchmarks/build.py --items=40981 --nodes=8000,800
    python benchmarks/build.py --items=1000000 --nodes=10000,1000 --repeats=1

Both learn for --iterations, from at most --points points per node, and assign every item. Our index
also needs k-means++ seeds, the depths above the first, node vectors, representative items and a
checked tree. Prints seconds, their ratio, and the sum of squared distances to the nodes. On a
machine with other work, --threads=1 counts processor seconds, which other work hardly changes.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import faiss
import numpy as np
import torch
from searchers import Setting
from synthetic_items import Catalogue
from threadpoolctl import threadpool_limits
from tqdm import trange

from recbole_hill.index.hierarchy import squared_distances
from recbole_hill.report.markdown import pipe_table

COLUMNS = "", "median s", "fastest-slowest", "x faiss.Kmeans", "sum of squared distances"


def main() -> None:
    """Reads the command line, builds both in turns, and prints the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=40_981, help="made items (40981)")
    parser.add_argument("--dim", type=int, default=64, help="width of the vectors (64)")
    parser.add_argument("--vectors", help="a .npy file of item vectors, instead of made ones")
    parser.add_argument("--nodes", default="8000,800", help="per depth, finest first (8000,800)")
    parser.add_argument("--points", type=int, default=256, help="k-means points a node (256)")
    parser.add_argument("--iterations", type=int, default=20, help="of every k-means (20)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (2)")
    parser.add_argument("--repeats", type=int, default=3, help="of both, by turns (3)")
    options = parser.parse_args()
    faiss.omp_set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    items = np.load(options.vectors) if options.vectors else Catalogue(options.items).matrix(True)
    nodes = tuple(int(part) for part in options.nodes.split(","))
    clock = time.process_time if options.threads == 1 else time.perf_counter
    spent, sums = {"ours": [], "faiss.Kmeans": []}, {}
    with threadpool_limits(options.threads):
        for repeat in trange(options.repeats, disable=options.repeats == 1):
            setting = Setting(
                items, nodes, seed=repeat, points=options.points, iterations=options.iterations
            )
            started = clock()
            index, _ = setting.em_index
            spent["ours"].append(clock() - started)
            sums["ours"] = squared_distances(items, index.vectors[0], index.parents[0]).sum()
            started = clock()
            centroids, nearest, _ = setting.lists
            spent["faiss.Kmeans"].append(clock() - started)
            sums["faiss.Kmeans"] = squared_distances(items, centroids, nearest).sum()
    peer = statistics.median(spent["faiss.Kmeans"])
    kind = "processor" if clock is time.process_time else "wall"
    print(f"{len(items):,} items x {items.shape[1]}, nodes {list(nodes)}, {kind} seconds\n")
    lines = []
    for name, seconds in spent.items():
        median = statistics.median(seconds)
        spread = f"{min(seconds):.1f}-{max(seconds):.1f}"
        ratio, distances = f"{median / peer:.2f}", f"{sums[name]:,.0f}"
        lines.append([name, f"{median:.1f}", spread, ratio, distances])
    print(pipe_table(COLUMNS, lines))


if __name__ == "__main__":
    main()
