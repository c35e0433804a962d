"""The time that learning the index by gradient adds to a training step.

    python benchmarks/index_learning.py --dataset=gowalla [--backbones=LightGCN,NESCL,MF-SSM]
        [--nodes=8192,64] [--batch=2048] [--steps=8] [--threads=2]

Steps with and without the index take turns. Prints a Markdown table of the median seconds of both,
and of their ratio with its spread; and the same for one attention layer, ours and the plain formula
under autograd. The seconds are processor seconds, which other work on the machine hardly changes.
"""

import argparse
import itertools
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from datasets import loaded
from epoch import step_seconds
from tqdm import tqdm

from recbole_hill.index.attention import NodeAttention
from recbole_hill.model.build import build_model
from recbole_hill.report.markdown import pipe_table
from recbole_hill.train.trainer import trainer_for

COLUMNS = "backbone", "s / step", "s / step with the index", "ratio", "of pairs"


def pairs_of_steps(backbone: str, options, progress) -> np.ndarray:
    """Measures pairs of steps, one without the index and one with it.

    Returns:
        Processor seconds, shape (steps, 2): without the index, with it.
    """
    settings = {
        "data_path": options.data_path,
        "protocol": "published",
        "backbone": backbone,
        "train_batch_size": options.batch,
        "index_learning": "joint",
        "nodes_per_depth": options.nodes,
    }
    with loaded("HILL", options.dataset, **settings) as (config, data):
        model = build_model(config, data)
        trainer = trainer_for(config, model)
    model.learner.precision = getattr(torch, options.precision)
    for epoch in (model.learner.first_epoch, 1000):  # sets the nodes; then past any warm-up
        model.begin_epoch(epoch)
    model.train()
    spent = []
    batches = itertools.islice(itertools.cycle(data.train), 2 * options.steps + 2)
    for step, batch in enumerate(batches):
        loss_of = model.calculate_loss if step % 2 else model.backbone_loss
        spent.append(step_seconds(trainer, batch, loss_of))
        progress.update()
    return np.array(spent[2:]).reshape(-1, 2)


def attention_seconds(n_items: int, n_nodes: int, dim: int, steps: int, precision) -> np.ndarray:
    """Measures one attention layer forward and backward: ours and the plain formula, (steps, 2)."""
    items, nodes = (torch.randn(n, dim) * 0.1 for n in (n_items, n_nodes))
    items.requires_grad_(), nodes.requires_grad_()

    def plain():
        distance = items.square().sum(1, keepdim=True) - 2 * items @ nodes.T
        assignment = torch.softmax(-5.0 * (distance + nodes.square().sum(1)), dim=1)
        return assignment @ nodes, assignment.mean(0)

    spent = np.empty((steps + 1, 2))
    for step in range(steps + 1):
        ways = (lambda: NodeAttention.apply(items, nodes, 5.0, precision), plain)
        for way, layer in enumerate(ways):
            started = time.process_time()
            pseudo, mean = layer()
            (pseudo.sum() + mean.square().sum()).backward()
            spent[step, way] = time.process_time() - started
    return spent[1:]


def main() -> None:
    """Reads the command line and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="gowalla")
    parser.add_argument("--data_path", default="dataset", help="where `prepare` wrote (dataset)")
    parser.add_argument("--backbones", default="LightGCN,NESCL,MF-SSM")
    parser.add_argument("--nodes", default="8192,64", help="nodes per depth (8192,64)")
    parser.add_argument("--batch", type=int, default=2048, help="batch size (2048)")
    parser.add_argument("--precision", default="bfloat16", help="float32 | bfloat16 (bfloat16)")
    parser.add_argument("--steps", type=int, default=8, help="pairs of steps to time (8)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    options = parser.parse_args()
    options.nodes = [int(size) for size in options.nodes.split(",")]
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    names = options.backbones.split(",")
    with tqdm(total=len(names) * (2 * options.steps + 2), unit="step") as progress:
        seconds_of = {name: pairs_of_steps(name, options, progress) for name in names}
    print(f"{options.dataset}, batch {options.batch:,}, nodes {options.nodes}, {options.precision}")
    lines = []
    for name, spent in seconds_of.items():
        without, with_index = np.median(spent, axis=0)
        ratios = spent[:, 1] / spent[:, 0]
        spread = f"{ratios.min():.2f} to {ratios.max():.2f}"
        seconds = [f"{without:.3f}", f"{with_index:.3f}"]
        lines.append([name, *seconds, f"{with_index / without:.2f}", spread])
    print("\n" + pipe_table(COLUMNS, lines))
    spent = attention_seconds(
        1700, max(options.nodes), 64, options.steps, getattr(torch, options.precision)
    )
    ours, plain = np.median(spent, axis=0)
    print(f"\nattention, 1,700 items over {max(options.nodes):,} nodes: {ours:.3f} s, ", end="")
    print(f"plainly under autograd {plain:.3f} s, {plain / ours:.1f} times")


if __name__ == "__main__":
    main()
