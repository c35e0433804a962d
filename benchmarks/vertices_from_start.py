"""Does it help a backbone to train with the index's nodes as items from the start?

    python benchmarks/vertices_from_start.py --backbone=NESCL --output=FILE [--seeds=2020,2021]
        [--rates=1,0.5] [--every=5] [--blocks=4] [--fuse-with=RUN] [--KEY=VALUE ...]
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
chosen block. With `--fuse-with` the scores of a finished run are added to the arm's at this block,
as Fusion adds them; validation chooses the weight of the run. HILL's settings and the backbone's
are given as `--KEY=VALUE`, such as `--keep_normalisation=False`.

Adds one line of JSON to FILE per seed, rate and arm. Prints, over all lines of FILE, the arms alone
and fused: mean ± standard deviation over the seeds, and the mean difference to an arm, with its
standard error.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from blocks import METRICS, PLAIN, VALID, Blocks, Vectors, measured, real_weights
from datasets import loaded
from tqdm import tqdm

from recbole_hill.adapt.forms import CONTINUE
from recbole_hill.config.dialect import parse_setting
from recbole_hill.data.splits import require_same_data
from recbole_hill.host.threads import set_threads
from recbole_hill.model.build import build_model
from recbole_hill.model.finished import FinishedRun
from recbole_hill.model.fusion import deviations
from recbole_hill.report.markdown import pipe_table
from recbole_hill.report.seeds import spread
from recbole_hill.run.jsonl import append_record, read_lines
from recbole_hill.run.provenance import made_by
from recbole_hill.train.trainer import trainer_for

PAIRS, AT_THE_END = "pairs", "at the end"
ARMS = (CONTINUE, PAIRS, "random_nodes", AT_THE_END)
#: Weights to try for the run that is fused with an arm, whose own weight is 1.
FUSE_WEIGHTS = (0.1, 0.2, 0.5, 1.0, 2.0)
#: Settings that a record names.
KEYS = ("backbone", "dataset", "protocol", "pair_form", "keep_normalisation")
#: Parts of a record, each with what validation chose for every seed.
PARTS = {"alone": "block", "fused": "weight of the run"}


def kinds_of(arm: str, n_blocks: int) -> tuple[str, ...]:
    """Returns what an arm trains with in each block."""
    if arm == AT_THE_END:
        return (*kinds_of(CONTINUE, n_blocks)[:-1], PAIRS)
    return (PLAIN, *[arm] * (n_blocks - 1))


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
        about = {key: config[key] for key in KEYS}
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
    """Returns the tables of all backbones, of the arms alone and fused.

    Args:
        rows: The records.
        against: The arm that the others are compared with.
    """
    tables = []
    for part, choice in PARTS.items():
        found: dict[tuple[str, str], dict[float, dict[int, dict]]] = {}
        for row in rows:
            if part in row:
                by_rate = found.setdefault((row["backbone"], row["arm"]), {})
                by_rate.setdefault(row["rate"], {})[row["seed"]] = row[part]
        chosen = {key: _best_rate(by_rate) for key, by_rate in found.items()}
        lines = [_line(key, chosen, against) for key in chosen]
        differences = (f"{metric} - {against}" for metric in METRICS)
        head = (f"{part}, on", "arm", "rate", choice, "validation", *METRICS, *differences)
        tables += [pipe_table(head, lines)] if lines else []
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
        *("" if arm == against else _difference(by_seed, control, m) for m in METRICS),
    ]


def _difference(best: dict[int, dict], control: dict[int, dict], metric: str) -> str:
    """Returns the mean difference over the seeds that both have, and its standard error."""
    seeds = best.keys() & control.keys()
    found = [best[s]["metrics"][metric] - control[s]["metrics"][metric] for s in seeds]
    error = f" ± {stdev(found) / len(found) ** 0.5:.4f}" if len(found) > 1 else ""
    return f"{fmean(found):+.4f}{error}"


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
    parser.add_argument("--blocks", type=int, default=4, help="number of blocks (4)")
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
