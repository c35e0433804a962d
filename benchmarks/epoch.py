"""The cost of an epoch of each baseline, beside LightGCN's epoch in the same run.

    python benchmarks/epoch.py --dataset=gowalla [--models=BPR,MF-SSM] [--steps=8] [--threads=1]

Prints a Markdown table. The seconds are processor seconds, which other work on the machine hardly
changes. The ratio to LightGCN is the figure that carries over to other machines.
"""

import argparse
import itertools
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from datasets import loaded
from tqdm import tqdm

from recbole_hill import registry
from recbole_hill.config.properties import read_properties
from recbole_hill.host.memory import keep_freed_memory
from recbole_hill.model.build import build_model
from recbole_hill.report.markdown import pipe_table
from recbole_hill.train.trainer import trainer_for

PEER = "LightGCN"


def cost(model: str, dataset: str, data_path: str, n_steps: int) -> dict:
    """Measures the seconds of a training step, the optimiser's part included.

    Args:
        model: Name of a registered model.
        dataset: Name of the dataset; the settings are the published ones for it.
        data_path: Folder of the prepared dataset.
        n_steps: Number of steps to time, after two steps that are not timed.

    Returns:
        Seconds of one step, number of steps of an epoch, and the most epochs that the settings
        allow.
    """
    with loaded(model, dataset, data_path=data_path, protocol="published") as (config, data):
        network = build_model(config, data).train()
        trainer = trainer_for(config, network)
    if hasattr(network, "begin_epoch"):
        network.begin_epoch(config["epochs"])  # past any warm-up
    batches = itertools.islice(itertools.cycle(data.train), n_steps + 2)
    spent = []
    for batch in batches:
        spent.append(step_seconds(trainer, batch))
    step = sorted(spent[2:])[n_steps // 2]
    return {"step": step, "steps": len(data.train), "epochs": config["epochs"]}


def step_seconds(trainer, batch, loss_of=None) -> float:
    """Takes a training step, the optimiser's part included, and returns its processor seconds.

    Args:
        trainer: Whose model and optimiser take the step.
        batch: RecBole batch.
        loss_of: Returns the loss of a batch; the model's own if None.
    """
    started = time.process_time()
    trainer.optimizer.zero_grad()
    loss = (loss_of or trainer.model.calculate_loss)(batch.to(trainer.device))
    (sum(loss) if isinstance(loss, tuple) else loss).backward()
    trainer.optimizer.step()
    return time.process_time() - started


def trainable() -> list[str]:
    """Returns the models of Table 3, and the further ones, that are trained by epochs."""
    table = read_properties("table", "3.yaml")
    names = [name for name in {**table["rows"], **table["beyond"]} if name != "HILL"]
    kinds = {name: registry.find(name).load() for name in names}
    return [name for name in names if not hasattr(kinds[name], "fit_once") and name != "Pop"]


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="gowalla")
    parser.add_argument("--data_path", default="dataset", help="where `prepare` wrote (dataset)")
    parser.add_argument("--models", help="names, separated by commas (default: all that train)")
    parser.add_argument("--steps", type=int, default=8, help="steps to time (8)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    names = options.models.split(",") if options.models else trainable()
    names = [PEER, *(name for name in names if name != PEER)]
    costs = {}
    for name in tqdm(names, unit="model"):
        costs[name] = cost(name, options.dataset, options.data_path, options.steps)
    peer = costs[PEER]["step"] * costs[PEER]["steps"]
    lines = []
    for name, spent in sorted(costs.items(), key=lambda f: f[1]["step"] * f[1]["steps"]):
        epoch = spent["step"] * spent["steps"]
        cells = [name, f"{spent['step']:.3f}", f"{spent['steps']:,}", f"{epoch:,.0f}"]
        lines.append([*cells, f"{epoch / peer:.2f}", f"{spent['epochs']:,}"])
    columns = [options.dataset, "s / step", "steps / epoch", "s / epoch", f"x {PEER}"]
    print(pipe_table([*columns, "epochs at most"], lines))


if __name__ == "__main__":
    main()
