"""Four datasets that no default was chosen on, to see whether the defaults hold there.

    python benchmarks/unseen.py --source=../shared/data --output=DIR

writes DIR/dataset/{alpha,beta,gamma,delta}: files of pairs under names that no YAML file has. So
every model has its defaults for unknown data. Then, in DIR,

    python PATH/run_recbole_hill.py table 3 --dataset=gamma
    python PATH/benchmarks/unseen.py --report studies/*/cells.jsonl

The second prints each model's recall@20 and ndcg@20 on each dataset, and marks what is below Pop
(!) or ItemKNN (*). Of cells of one model and dataset the last counts.

- ``alpha`` is ml-100k's pairs: dense.
- ``beta`` is 2,500 users of Gowalla, of them those with 5 items or more, and their items with 4
  users or more: sparse.
- ``gamma`` is 1,500 items and 900 users of Yelp2018: small.
- ``delta`` is generated: 2,500 users with tastes over 12 groups of 3,000 items, whose popularity is
  unequal.
"""

import argparse
import gzip
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import recbole

from recbole_hill.config.properties import read_properties
from recbole_hill.report.markdown import pipe_table
from recbole_hill.run.jsonl import read_lines
from recbole_hill.run.ledger import DONE

METRICS = ("recall@20", "ndcg@20")
_MARKS = {"Pop": "!", "ItemKNN": "*"}
Pairs = np.ndarray  # of <user, item>, shape (E, 2)


def main() -> None:
    """Writes the four datasets and prints their sizes, or prints the table of studies on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, help="folder of gowalla, yelp2018")
    parser.add_argument("--output", type=Path, help="folder to write into")
    parser.add_argument("--report", type=Path, nargs="+", help="files of cells")
    arguments = parser.parse_args()
    if arguments.report:
        print(report(arguments.report))
    elif arguments.source and arguments.output:
        write(arguments.source, arguments.output)
    else:
        parser.error("--source and --output are needed, or --report")


def report(files: list[Path]) -> str:
    """Returns the table of the served arm's metrics, by model and dataset."""
    found: dict[str, dict[str, dict]] = {}
    for file in files:
        for cell in read_lines(file).kept:
            if cell["status"] == DONE:
                row = cell["rows"][-1]
                found.setdefault(row["dataset"], {})[cell["row"]] = row
    of_table = read_properties("table", "3.yaml")
    models = [*of_table["rows"], *of_table["beyond"]]
    columns = [f"{dataset} {metric}" for dataset in found for metric in METRICS]
    lines = []
    for model in models:
        cells = [_cell(found[d], model, m) for d in found for m in METRICS]
        lines += [[model, *cells]] if any(cells) else []
    return pipe_table(["model", *columns], lines)


def _cell(rows: dict[str, dict], model: str, metric: str) -> str:
    """Returns a number, marked if it is below a part of the run's floor."""
    if model not in rows:
        return ""
    value, floor = rows[model]["metrics"][metric], rows[model]["floor"]
    below = [name for name in floor if name != model and value < floor[name][metric]]
    return f"{value:.4f}{_MARKS[below[0]] if below else ''}"


def write(source: Path, output: Path) -> None:
    """Writes the four datasets, and prints their sizes."""
    rng = np.random.default_rng(7)
    made = {
        "alpha": _movielens,
        "beta": lambda: _sparse(_lightgcn(source / "gowalla"), rng),
        "gamma": lambda: _small(_lightgcn(source / "yelp2018"), rng),
        "delta": lambda: _generated(rng),
    }
    for name, make in made.items():
        _write(output / "dataset" / name, make())


def _movielens() -> Pairs:
    file = Path(recbole.__file__).parent / "dataset_example" / "ml-100k" / "ml-100k.inter"
    return pd.read_csv(file, sep="\t", usecols=[0, 1]).to_numpy()


def _lightgcn(folder: Path) -> Pairs:
    """Reads train and test of a folder of LightGCN's format: a user, then the user's items."""
    pairs = []
    for part in ("train", "test"):
        for file in sorted(folder.glob(f"{part}*")):
            with (gzip.open if file.suffix == ".gz" else open)(file, "rt") as lines:
                for line in lines:
                    user, *items = map(int, line.split())
                    pairs += [(user, item) for item in items]
    return np.array(pairs)


def _sparse(pairs: Pairs, rng: np.random.Generator) -> Pairs:
    # 6,000 are drawn, and fewer kept: what is drawn after them stays as it was.
    users = rng.choice(np.unique(pairs[:, 0]), 6_000, replace=False)[:2_500]
    pairs = pairs[np.isin(pairs[:, 0], users)]
    for _ in range(4):
        pairs = _frequent(_frequent(pairs, 1, 4), 0, 5)
    return pairs


def _small(pairs: Pairs, rng: np.random.Generator) -> Pairs:
    items, counts = np.unique(pairs[:, 1], return_counts=True)
    chosen = rng.choice(items, 1_500, replace=False, p=counts / counts.sum())
    pairs = _frequent(pairs[np.isin(pairs[:, 1], chosen)], 0, 6)
    users = rng.choice(np.unique(pairs[:, 0]), 900, replace=False)
    return pairs[np.isin(pairs[:, 0], users)]


def _generated(rng: np.random.Generator) -> Pairs:
    n_users, n_items, n_groups = 2_500, 3_000, 12
    tastes = rng.dirichlet(np.full(n_groups, 0.25), n_users)
    group, popularity = rng.integers(0, n_groups, n_items), rng.pareto(1.3, n_items) + 0.1
    pairs = []
    for user in range(n_users):
        share = tastes[user, group] * popularity
        n = min(int(rng.lognormal(2.9, 0.7)) + 5, n_items // 4)
        items = rng.choice(n_items, n, replace=False, p=share / share.sum())
        pairs += [(user, item) for item in items]
    return np.array(pairs)


def _frequent(pairs: Pairs, column: int, least: int) -> Pairs:
    """Keeps the pairs whose user (column 0) or item (column 1) occurs often enough."""
    ids, counts = np.unique(pairs[:, column], return_counts=True)
    return pairs[np.isin(pairs[:, column], ids[counts >= least])]


def _write(folder: Path, pairs: Pairs) -> None:
    columns = {"user_id:token": pairs[:, 0], "item_id:token": pairs[:, 1]}
    table = pd.DataFrame(
        {name: name[0] + pd.Series(ids).astype(str) for name, ids in columns.items()}
    )
    table = table.drop_duplicates().sample(frac=1, random_state=1)
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{folder.name}.inter", sep="\t", index=False)
    users, items = table.nunique()
    print(f"{folder.name}: {users:,} users, {items:,} items, {len(table):,} pairs")


if __name__ == "__main__":
    main()
