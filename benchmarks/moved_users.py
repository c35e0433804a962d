"""The gain of moving users without training, and whether the index is the reason for it.

    python benchmarks/moved_users.py saved/HILL-1 saved/HILL-2

HILL's control `average` moves each user toward the mean of the nodes of their interests. This
script also moves users toward three other targets: random nodes (as `average_random` does); the
mean of all items, which knows nothing of the user; and the mean of the user's own train items,
which needs no index. How far users move is chosen on validation (ndcg@20), for each run and target.
The test set is read once for each. The runs are of one model and differ in their seed.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from datasets import finished

from recbole_hill.adapt.controls import move_toward_nodes
from recbole_hill.adapt.selection import select_pairs, train_history
from recbole_hill.adapt.stage import pairs_of_arm
from recbole_hill.report.markdown import pipe_table
from recbole_hill.report.seeds import spread

WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
METRICS = ("recall@20", "ndcg@20")
NOWHERE = "nowhere"
COLUMNS = (
    "moved toward",
    "by",
    *(f"{part} {m}" for part in ("validation", "test") for m in METRICS),
)


def main() -> None:
    """Prints one line per target, with the choices of validation over the runs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", help="folders of finished HILL runs under holdout")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    by_target: dict[str, list[tuple]] = {}
    for folder in options.runs:
        for target, line in _chosen(Path(folder)).items():
            by_target.setdefault(target, []).append(line)
    lines = []
    for target, chosen in by_target.items():
        weights = sorted({weight for weight, *_ in chosen})
        columns = zip(*(numbers for _, *numbers in chosen), strict=True)
        by = ", ".join(f"{weight:g}" for weight in weights)
        lines.append((target, by, *(spread(list(column)) for column in columns)))
    print(pipe_table(COLUMNS, lines))


def _chosen(folder: Path) -> dict[str, tuple]:
    """Returns, per target, the weight chosen on validation, and its metrics in both sets.

    Raises:
        ValueError: If the run chose its weights on test.
    """
    trainer, data = finished(folder)
    served = trainer.arms[-1]
    users, items = (vectors.detach() for vectors in trainer.model.vectors())

    def metrics(loader, moved) -> tuple[float, ...]:
        trainer.arm = replace(served, vectors=(moved, items))
        values = trainer.evaluate(loader, load_best_model=False)
        return tuple(float(values[name]) for name in METRICS)

    unmoved = metrics(data.valid, users)
    lines = {NOWHERE: (0.0, *unmoved, *metrics(data.test, users))}
    for name, target in _targets(trainer, users, items, data).items():
        valid = {0.0: unmoved, **{w: metrics(data.valid, target(w)) for w in WEIGHTS}}
        best = max(valid, key=lambda weight: valid[weight][-1])
        lines[name] = (best, *valid[best], *metrics(data.test, target(best)))
    return lines


def _targets(trainer, users, items, data) -> dict:
    """Returns, by name of the target, functions from a weight to user vectors, (U, D)."""
    index, nodes = trainer.model.index, trainer.model.nodes
    selected = select_pairs(trainer, index, data.train)
    own_pairs, random_pairs = (
        pairs_of_arm(trainer, arm, index, selected) for arm in ("average", "average_random")
    )
    history = train_history(data.train._dataset)
    counts = torch.from_numpy(np.diff(history.indptr)).unsqueeze(1)
    own = torch.from_numpy(history.astype(np.float32) @ items[1:].numpy()) / counts.clamp_min(1)
    return {
        "nodes of interest": lambda w: move_toward_nodes(users, items, own_pairs, nodes, w),
        "random nodes": lambda w: move_toward_nodes(users, items, random_pairs, nodes, w),
        "the mean of all items": lambda w: torch.lerp(users, items[1:].mean(0), w),
        "the mean of own train items": lambda w: torch.where(
            counts > 0, torch.lerp(users, own, w), users
        ),
    }


if __name__ == "__main__":
    main()
