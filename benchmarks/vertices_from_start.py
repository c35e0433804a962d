"""Does it help a backbone to train with the index's nodes as items from the start?

    python benchmarks/vertices_from_start.py --backbone=NESCL --output=FILE [--seeds=2020,2021]
        [--rates=1,0.5] [--every=5] [--blocks=7] [--fuse-with=RUN] [--KEY=VALUE ...]
    python benchmarks/vertices_from_start.py --output=FILE [--against=ARM]     # the tables alone

HILL makes nodes of its index further items of a finished backbone (`pair_form`), trains for a few
epochs, and folds them away. Here the backbone trains in blocks of epochs. Before each block but
the first, k-means makes the index on the current item vectors, and the <user, node> pairs are
extracted anew. The weights of users and real items are carried from block to block. Each block
starts a new Adam, in all arms. The arms have the same seeds and share the first block:

- `continue`: no nodes; where pairs are rows, as many rows again as the arm has pairs.
- `pairs`: with nodes in all further blocks.
- `random_nodes`: the same with random nodes in the pairs.
- `at the end`: as `continue`, with nodes in the last block alone.

The learning rates to try are shares of the backbone's own. Validation chooses the block and, in the
tables, each arm's rate, by its mean over the seeds that all rates have. The test set is read at the
chosen block. With `--fuse-with` the scores of a finished run are added to an arm's, as Fusion adds
them; validation chooses the weight of the run.

Adds one line of JSON to FILE per seed, rate and arm. Prints, over all lines of FILE, the arms alone
and fused: mean ± standard deviation over the seeds, and the mean difference to an arm, with its
standard error.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from datasets import loaded
from torch import Tensor
from tqdm import tqdm
from tuned_arms import difference

from recbole_hill.adapt.forms import CONTINUE, training_of
from recbole_hill.adapt.pairs import Pairs
from recbole_hill.adapt.selection import select_pairs
from recbole_hill.adapt.stage import pairs_of_arm
from recbole_hill.adapt.virtual_items import VirtualItems
from recbole_hill.config.dialect import parse_setting
from recbole_hill.data.ids import Ids
from recbole_hill.data.splits import require_same_data
from recbole_hill.host.threads import set_threads
from recbole_hill.model.build import build_model
from recbole_hill.model.finished import FinishedRun
from recbole_hill.model.fusion import deviations
from recbole_hill.report.markdown import pipe_table
from recbole_hill.report.seeds import spread
from recbole_hill.run.jsonl import append_record, read_lines
from recbole_hill.run.provenance import made_by
from recbole_hill.train.arms import Arm
from recbole_hill.train.index_stage import START, make_index
from recbole_hill.train.trainer import trainer_for

Vectors = tuple[Tensor, Tensor]  # of users and of real items, (U + 1, D) and (I + 1, D)

PLAIN, PAIRS, AT_THE_END = "plain", "pairs", "at the end"
ARMS = (CONTINUE, PAIRS, "random_nodes", AT_THE_END)
#: Weights to try for the run that is fused with an arm, whose own weight is 1.
FUSE_WEIGHTS = (0.1, 0.2, 0.5, 1.0, 2.0)
METRICS = ("recall@20", "ndcg@20")
VALID = "ndcg@20"
NO_PAIRS = Pairs(*(np.zeros(0, dtype=np.int64) for _ in range(3)), rates=np.zeros(0))


@dataclass(frozen=True, eq=False)
class Reached:
    """Where a block of epochs ends.

    Attributes:
        weights: The backbone's weights, without those of nodes.
        vectors: The vectors that the backbone gives, with the nodes in its graph.
        validation: The validation metric of the vectors.
        pairs: Number of pairs.
        steps: Number of training steps of the block.
        seconds: Seconds of the block.
    """

    weights: dict[str, Tensor]
    vectors: Vectors
    validation: float
    pairs: int
    steps: int
    seconds: float


class Blocks:
    """Trains a backbone block by block at one learning rate; arms share the blocks they agree on.

    Args:
        trainer: Trainer of a HILL model with its seeded weights.
        data: The run's data.
        start: The backbone's weights before the first block.
        every: Number of epochs of a block.
        rate: The learning rate.
    """

    def __init__(self, trainer, data, start: dict[str, Tensor], *, every: int, rate: float):
        self.trainer, self.data, self.every, self.rate = trainer, data, every, rate
        self.start, self._reached = start, {}

    def reach(self, kinds: tuple[str, ...]) -> Reached:
        """Returns where blocks of these kinds, in this order, end."""
        if kinds not in self._reached:
            before = self.reach(kinds[:-1]).weights if kinds[1:] else self.start
            self._reached[kinds] = self._train(before, kinds[-1], len(kinds) - 1)
        return self._reached[kinds]

    def _train(self, weights: dict[str, Tensor], kind: str, block: int) -> Reached:
        trainer, model, started = self.trainer, self.trainer.model, time.perf_counter()
        model.backbone.load_state_dict(weights)
        arm, pairs = (CONTINUE, NO_PAIRS) if kind == PLAIN else (kind, self._pairs(kind))
        with training_of(trainer, arm, pairs, self.data.train) as training:
            trainer.run_stage(
                f"block {block}",
                self.every,
                training.data,
                training.loss,
                learning_rate=self.rate,
                begin_epoch=lambda n: model.begin_backbone_epoch(block * self.every + n),
            )
            trainer.finish_stage(f"block {block}")
            model.eval()
            vectors = tuple(part.clone() for part in model.vectors())
            reached = real_weights(model.backbone)
        valid = measured(trainer, self.data.valid, vectors)[VALID]
        steps, seconds = self.every * len(training.data), time.perf_counter() - started
        return Reached(reached, vectors, valid, len(pairs), steps, seconds)

    def _pairs(self, kind: str) -> Pairs:
        """Returns the pairs of a new index over the current item vectors."""
        trainer, train = self.trainer, self.data.train
        index, _ = make_index(trainer, Ids.of(train._dataset).items)
        return pairs_of_arm(trainer, kind, index, select_pairs(trainer, index, train))


def real_weights(backbone) -> dict[str, Tensor]:
    """Returns a copy of a backbone's weights, without those of nodes."""
    if isinstance(backbone, VirtualItems):
        return backbone.real_weights()
    return {name: value.clone() for name, value in backbone.state_dict().items()}


def kinds_of(arm: str, n_blocks: int) -> tuple[str, ...]:
    """Returns what an arm trains with in each block."""
    if arm == AT_THE_END:
        return (*kinds_of(CONTINUE, n_blocks)[:-1], PAIRS)
    return (PLAIN, *[arm] * (n_blocks - 1))


def measured(trainer, loader, vectors: Vectors) -> dict[str, float]:
    """Returns the metrics of user and item vectors on a validation or test set."""
    trainer.arm = Arm("", START, vectors=vectors)
    values = trainer.evaluate(loader, load_best_model=False)
    return {name: float(values[name]) for name in METRICS}


def standardised(vectors: Vectors) -> Vectors:
    """Returns vectors that give each user scores of standard deviation 1, as in Fusion."""
    users, items = vectors
    scale = torch.from_numpy(deviations(users.numpy(), items.numpy()))
    return (users / scale[:, None]).float(), items


def fused(trainer, data, own: Vectors, other: Vectors) -> dict:
    """Returns the metrics of a weighted sum of scores, with the weight that validation chose."""
    (users, items), (other_users, other_items) = map(standardised, (own, other))
    sums = {
        weight: (torch.cat((users, weight * other_users), 1), torch.cat((items, other_items), 1))
        for weight in FUSE_WEIGHTS
    }
    valid = {weight: measured(trainer, data.valid, sums[weight])[VALID] for weight in sums}
    best = max(valid, key=valid.get)
    test = measured(trainer, data.test, sums[best])
    return {"chosen": best, "validation": valid[best], "metrics": test}


def rows_of_seed(options, given: dict, seed: int) -> Iterator[dict]:
    """Yields the records of a seed; see the script's docstring."""
    settings = {"protocol": "holdout", "pair_form": "vertices+rows", **given, "seed": seed}
    with loaded("HILL", options.dataset, backbone=options.backbone, **settings) as (config, data):
        trainer = trainer_for(config, build_model(config, data))
        trainer.see(data.train)
        start = real_weights(trainer.model.backbone)
        about = {key: config[key] for key in ("backbone", "dataset", "protocol", "pair_form")}
        about |= {"seed": seed, "given": given, "every": options.every, **made_by()}
        other = None
        if options.fuse_with:
            require_same_data(options.fuse_with, data.sha256)
            run = FinishedRun.load(options.fuse_with)
            other = run.vectors
            valid = measured(trainer, data.valid, other)[VALID]
            alone = {"validation": valid, "metrics": measured(trainer, data.test, other)}
            yield {
                **about,
                "arm": run.config["model"],
                "rate": 0.0,
                "fused": {"chosen": 0, **alone},
            }
        for rate in (float(share) * config["learning_rate"] for share in options.rates.split(",")):
            blocks = Blocks(trainer, data, start, every=options.every, rate=rate)
            for arm in ARMS:
                kinds = kinds_of(arm, options.blocks)
                reached = [blocks.reach(kinds[:n]) for n in range(1, len(kinds) + 1)]
                best = max(reached, key=lambda block: block.validation)
                result = {
                    "chosen": reached.index(best) + 1,
                    "validation": best.validation,
                    "metrics": measured(trainer, data.test, best.vectors),
                }
                row = {**about, "arm": arm, "rate": rate, "alone": result}
                for key in ("validation", "pairs", "steps", "seconds"):
                    row[f"{key} by block"] = [round(getattr(block, key), 6) for block in reached]
                if other is not None:
                    row["fused"] = fused(trainer, data, best.vectors, other)
                yield row


def report(rows: list[dict], against: str) -> str:
    """Returns the tables of all backbones, of the arms alone and fused."""
    tables = []
    for part in ("alone", "fused"):
        found: dict[tuple[str, str], dict[float, dict[int, dict]]] = {}
        for row in rows:
            if part in row:
                by_rate = found.setdefault((row["backbone"], row["arm"]), {})
                by_rate.setdefault(row["rate"], {})[row["seed"]] = row[part]
        chosen = {key: _best_rate(by_rate) for key, by_rate in found.items()}
        lines = [_line(key, chosen, against) for key in chosen]
        head = ("backbone", "arm", "rate", part, "validation", *METRICS)
        tables += [pipe_table((*head, *(f"{m} - {against}" for m in METRICS)), lines)]
    return "\n\n".join(tables)


def _best_rate(by_rate: dict[float, dict[int, dict]]) -> tuple[float, dict[int, dict]]:
    """Returns the rate with the best mean validation over the seeds of all rates, and its seeds."""
    shared = set.intersection(*map(set, by_rate.values()))
    return max(by_rate.items(), key=lambda item: fmean(item[1][s]["validation"] for s in shared))


def _line(key: tuple[str, str], chosen: dict, against: str) -> list[str]:
    (backbone, arm), (rate, by_seed) = key, chosen[key]
    _, control = chosen[backbone, against]
    results = by_seed.values()
    return [
        *(backbone, arm, f"{rate:g}" if rate else ""),
        ", ".join(f"{result['chosen']:g}" for result in results),
        f"{fmean(result['validation'] for result in results):.4f}",
        *(spread([result["metrics"][m] for result in results]) for m in METRICS),
        *("" if arm == against else difference(by_seed, control, m) for m in METRICS),
    ]


def main(arguments: list[str] | None = None) -> None:
    """Trains what is asked for, and prints the tables of all lines of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", help="NESCL, LightGCN-BSL ... (default: only the tables)")
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--output", type=Path, required=True, help="file of records")
    parser.add_argument("--seeds", default="2020,2021,2022,2023,2024", help="separated by commas")
    parser.add_argument("--rates", default="1,0.5", help="shares of the backbone's own (1,0.5)")
    parser.add_argument("--every", type=int, default=5, help="epochs of a block (5)")
    parser.add_argument("--blocks", type=int, default=7, help="number of blocks (7)")
    parser.add_argument("--fuse-with", type=Path, help="folder of a finished run, under holdout")
    parser.add_argument("--against", default=CONTINUE, help="the arm to compare with (continue)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    options, extra = parser.parse_known_args(arguments)
    set_threads(options.threads)
    if options.backbone:
        pairs = (argument.removeprefix("--").partition("=") for argument in extra)
        given = {key: parse_setting(key, value) for key, _, value in pairs}
        for seed in tqdm([int(seed) for seed in options.seeds.split(",")], unit="seed"):
            for row in rows_of_seed(options, given, seed):
                append_record(options.output, row)
    print(report(list(read_lines(options.output).kept), options.against))


if __name__ == "__main__":
    main()
