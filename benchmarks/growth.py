"""The growth of an epoch's time and memory with interactions, batch and dimensions.

    python benchmarks/growth.py [--interactions=100000,1000000,10000000] [--steps=3] [--threads=1]

The graphs are generated; the degrees of users and items follow a power law. Measured are training
steps of this package's LightGCN: propagation, pairs and negatives drawn on the device, BPR,
gradient and fused Adam. Prints a Markdown table, and writes it with a plot beside --output.
"""

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import scipy.sparse as sp
import torch
from plots import write_growth_of_training
from tqdm import tqdm

from recbole_hill.data.graph import InteractionGraph, propagate
from recbole_hill.data.sampling import InteractionSampler
from recbole_hill.model.losses import bpr
from recbole_hill.run.files import atomic_path

#: Mean number of interactions of a user and of an item, about as in Gowalla.
PER_USER, PER_ITEM = 27, 20
LAYERS = 3


def made_graph(n: int, seed: int = 0) -> sp.csr_matrix:
    """Draws about n interactions of n / 27 users with n / 20 items, popular ones more often."""
    rng = np.random.default_rng(seed)
    sides = []
    for size in (n // PER_USER, n // PER_ITEM):
        weights = np.cumsum((np.arange(size) + 10.0) ** -0.7)
        drawn = np.searchsorted(weights / weights[-1], rng.random(n)).clip(max=size - 1)
        sides.append(rng.permutation(size)[drawn] + 1)  # 0 is the padding
    shape = (n // PER_USER + 1, n // PER_ITEM + 1)
    matrix = sp.csr_matrix((np.ones(n, dtype=np.float32), sides), shape=shape)
    matrix.data[:] = 1
    return matrix


def measure(n: int, batch: int, dim: int, n_steps: int) -> dict:
    """Measures training steps on a generated graph, after one step that is not timed.

    Args:
        n: Number of interactions.
        batch: Batch size B.
        dim: Dimensions D.
        n_steps: Number of steps to time.

    Returns:
        The settings, the processor seconds of a step (median) and of an epoch, and the peak MiB
        above the memory in use before the graph was generated.
    """
    with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
        file.write("5")  # resets the peak to the memory in use now
    before = _status("VmHWM")
    matrix = made_graph(n)
    graph, sampler = InteractionGraph(matrix), InteractionSampler(matrix)
    adjacency = graph.normalized()
    torch.manual_seed(0)
    table = torch.nn.Parameter(torch.randn(len(graph), dim) * 0.01)
    optimizer = torch.optim.Adam([table], lr=1e-3, fused=True)
    spent = []
    for _ in range(n_steps + 1):
        started = time.process_time()
        nodes = propagate(adjacency, table, LAYERS, with_ego=True)
        users, items = sampler.positives(batch)
        negatives = sampler.negatives(users, 1, reject=True)[:, 0]
        query = nodes[users]
        scores = [(query * nodes[graph.n_users + ids]).sum(1) for ids in (items, negatives)]
        optimizer.zero_grad()
        bpr(*scores).backward()
        optimizer.step()
        spent.append(time.process_time() - started)
    step = float(np.median(spent[1:]))
    return {
        "interactions": matrix.nnz,
        "batch": batch,
        "dim": dim,
        "step": step,
        "epoch": step * -(-matrix.nnz // batch),
        "mib": (_status("VmHWM") - before) / 1024,
    }


def _status(name: str) -> int:
    """Returns an entry of the kernel's status file of this process, in KiB."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))


def table(rows: list[dict]) -> str:
    """Returns the rows as a Markdown table."""
    lines = [
        "| interactions | batch | D | s / step | s / epoch | peak MiB |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        cells = [f"{row['interactions']:,}", f"{row['batch']:,}", str(row["dim"])]
        cells += [f"{row['step']:.3f}", f"{row['epoch']:,.0f}", f"{row['mib']:,.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def outlook(rows: list[dict], n: int = 100_000_000) -> str:
    """Returns a text that extrapolates the largest size measured to n interactions."""
    row = max(rows, key=lambda row: row["interactions"])
    times = n / row["interactions"]
    step, steps = row["step"] * times, -(-n // row["batch"])
    # Each product reads, for every entry, a column, a value and a row of D floats. There are two
    # entries per interaction, and the products run forward and backward.
    read = 2 * n * 2 * LAYERS * (12 + 4 * row["dim"]) / 2**30
    return (
        f"What limits {n:,} interactions is the propagation that every step repeats. In "
        f"proportion to the largest size above, a step would take {step:,.0f} s (it reads "
        f"{read:,.0f} GiB of rows and entries, from memory, not from cache) and an epoch of "
        f"{steps:,} steps of batch {row['batch']:,} {step * steps / 86400:,.0f} days on one core; "
        f"memory would be {row['mib'] * times / 1024:,.0f} GiB. A step costs nearly the same "
        "whatever the batch, so that the batch has to grow with the graph, and the products have "
        "to run where memory is fast. Several processes on one model (DDP) would each repeat the "
        "whole propagation, and save nothing unless the graph is divided among them: what goes "
        "side by side at this size is seeds and models, a machine each (`table --ray-address`). A "
        "model without a graph (MF-SSM, BPR) reads only its batch's rows and the optimiser's "
        "tables."
    )


def main() -> None:
    """Reads the command line, measures, prints and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interactions", default="100000,1000000,10000000")
    parser.add_argument("--batches", default="2048,8192,32768", help="at the middle size")
    parser.add_argument("--dims", default="32,64,128", help="at the middle size")
    parser.add_argument("--steps", type=int, default=3, help="steps to time (3)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--output", default="results/growth.md")
    options = parser.parse_args()
    sizes, batches, dims = (
        [int(part) for part in text.split(",")]
        for text in (options.interactions, options.batches, options.dims)
    )
    middle = sizes[len(sizes) // 2]
    wanted = [(size, 2048, 64) for size in sizes]
    wanted += [(middle, batch, 64) for batch in batches] + [(middle, 2048, dim) for dim in dims]
    wanted = sorted(set(wanted))
    # Each setting has a new process: memory left by one setting would hide the next one's.
    with ProcessPoolExecutor(
        1,
        mp_context=get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(options.threads,),
        max_tasks_per_child=1,
    ) as fresh:
        measurements = [fresh.submit(measure, *setting, options.steps) for setting in wanted]
        rows = [each.result() for each in tqdm(measurements, unit="setting")]
    about = (
        "Training steps of LightGCN on made graphs, 3 layers, processor seconds "
        f"({options.threads} thread(s)), on a machine that did other work; peak memory is above "
        "what Python and its libraries take.\n\n```bash\npython benchmarks/growth.py\n```"
    )
    page = "\n\n".join(("# How training grows", about, table(rows), outlook(rows)))
    output = Path(options.output)
    with atomic_path(output) as temporary:
        temporary.write_text(f"{page}\n", encoding="utf-8")
    write_growth_of_training(rows, output.with_suffix(""))
    print(page)


if __name__ == "__main__":
    main()
