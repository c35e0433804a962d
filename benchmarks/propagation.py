"""The cost of the graph product, with other orders of the nodes and with narrower numbers.

    python benchmarks/propagation.py [--dataset=gowalla] [--dim=64] [--repeats=15] [--threads=1]

A product reads one row of the vectors for every edge; the numbering of the nodes decides the order.
`warm`: the vectors were read just before, as in a product that follows another. `cold`: an array
larger than the caches was read in between, as in a training step, where a loss comes between the
products of two steps. Prints a Markdown table and writes it to --output.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import scipy.sparse as sp
import torch
from datasets import loaded
from run import machine
from scipy.sparse.csgraph import reverse_cuthill_mckee
from tqdm import tqdm

from recbole_hill.data.graph import InteractionGraph, _weighted_sums
from recbole_hill.host.memory import keep_freed_memory
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.report.markdown import pipe_table
from recbole_hill.run.files import atomic_path

COLUMNS = "product", "warm, ms", "cold, ms", "rows and entries read, MiB/s, cold", "error"


def ways(interactions: sp.csr_matrix, dim: int) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Yields names, matrices and vectors of the products; the first is the package's own."""
    graph = InteractionGraph(interactions)
    matrix = graph.normalized()
    torch.manual_seed(0)
    x = torch.randn(len(graph), dim)
    yield "as it is: float32, nodes as numbered", matrix, x
    short = _csr(matrix.crow_indices().int(), matrix.col_indices().int(), matrix.values())
    yield "32-bit edge indices", short, x
    for dtype in (torch.float16, torch.bfloat16):
        narrow = _csr(matrix.crow_indices(), matrix.col_indices(), matrix.values().to(dtype))
        yield f"vectors and weights in {str(dtype).partition('.')[2]}", narrow, x.to(dtype)
    arrays = matrix.values(), matrix.col_indices(), matrix.crow_indices()
    scipys = sp.csr_matrix(tuple(array.numpy() for array in arrays))
    for name, order in orders(scipys).items():
        moved = scipys[order][:, order].sorted_indices()
        arrays = moved.indptr.astype(np.int64), moved.indices.astype(np.int64), moved.data
        yield f"nodes ordered by {name}", _csr(*map(torch.from_numpy, arrays)), x[order]


def orders(graph: sp.csr_matrix) -> dict[str, np.ndarray]:
    """Returns orders of the nodes, each of shape (U + I,): the old number at each new place."""
    degree = np.diff(graph.indptr)
    return {
        "degree": np.argsort(-degree, kind="stable"),
        "reverse Cuthill-McKee": reverse_cuthill_mckee(graph, symmetric_mode=True).astype(np.int64),
        "chance": np.random.default_rng(0).permutation(len(degree)),
    }


def product(matrix: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Returns the package's product, in any precision."""
    return _weighted_sums(matrix.values(), matrix.col_indices(), matrix.crow_indices(), x)


def measure(matrix: torch.Tensor, x: torch.Tensor, repeats: int) -> tuple[float, float]:
    """Returns the median milliseconds of a warm and of a cold product."""
    others = torch.ones(1 << 25)  # 128 MiB
    warm, cold = [], []
    product(matrix, x)
    for _ in range(repeats):
        warm.append(_milliseconds(matrix, x))
        others.sum()
        cold.append(_milliseconds(matrix, x))
        product(matrix, x)
    return statistics.median(warm), statistics.median(cold)


def _milliseconds(matrix: torch.Tensor, x: torch.Tensor) -> float:
    started = time.perf_counter()
    product(matrix, x)
    return 1000 * (time.perf_counter() - started)


def _csr(crow: torch.Tensor, columns: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    size = (len(crow) - 1,) * 2
    return torch.sparse_csr_tensor(crow, columns, values, size=size, check_invariants=False)


def main() -> None:
    """Reads the command line, measures, prints and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="gowalla")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=15, help="products of each kind (15)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--output", default="results/propagation.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    with loaded("BPR", options.dataset, protocol="refit") as (_, data):
        interactions = train_matrix(data.train._dataset)
    lines, expected = [], None
    for name, matrix, x in tqdm(ways(interactions, options.dim), unit="way"):
        warm, cold = measure(matrix, x, options.repeats)
        read = matrix.values().numel() * (x.element_size() * options.dim + 12) / 2**20
        # The rows have another order, but the same lengths.
        lengths = product(matrix, x).float().norm(dim=1).sort().values
        expected = lengths if expected is None else expected
        error = float((lengths - expected).abs().max() / expected.max())
        cells = [name, f"{warm:.1f}", f"{cold:.1f}", f"{read / cold * 1000:,.0f}", f"{error:.0e}"]
        lines.append(cells)
    page = "\n".join(
        [
            "# The graph product: orders of nodes, precisions",
            "",
            f"{machine(options.threads)}; {options.dataset}, D {options.dim}, one product of "
            f"{2 * interactions.nnz:,} entries, medians of {options.repeats}.",
            "",
            "```bash",
            f"python benchmarks/propagation.py --threads={options.threads}",
            "```",
            "",
            pipe_table(COLUMNS, lines),
            "",
        ]
    )
    with atomic_path(Path(options.output)) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
