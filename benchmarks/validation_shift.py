"""Is the validation set that ``holdout`` takes from train like the test set?

    python benchmarks/validation_shift.py --datasets=ml-100k,gowalla,yelp2018 [--users=2000]
    python benchmarks/validation_shift.py --datasets=gowalla --valid_choice=later --valid_ratio=0.2

A dataset of two files keeps its test set as it is. The validation set is a random part of train.
With ``--valid_choice=later`` it is a part that is farther from train, as later interactions are.
Prints how near both sets are to the users' train items (the mean of the largest item-item cosine;
see ``recbole_hill/data/nearness.py``), over the same users.
"""

import argparse
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from datasets import loaded
from scipy.stats import ttest_rel
from tqdm import tqdm

from recbole_hill.data.nearness import nearness
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.report.markdown import pipe_table

COLUMNS = "dataset", "users", "validation", "test", "difference ± s.e.", "p, paired t"


def compare(dataset: str, given: dict, n_users: int, seed: int) -> list[str]:
    """Returns the table row of a dataset."""
    with loaded("BPR", dataset, protocol="holdout", **given) as (_, data):
        parts = data.train, data.valid, data.test
    train, *held_out = (train_matrix(part._dataset) for part in parts)
    present = [np.diff(x.indptr) > 0 for x in (train, *held_out)]
    users = np.flatnonzero(np.all(present, axis=0))
    users = np.random.default_rng(seed).permutation(users)[:n_users]
    valid, test = (nearness(train, part, users) for part in held_out)
    difference = valid - test
    error = difference.std(ddof=1) / np.sqrt(len(users))
    return [
        dataset,
        f"{len(users):,}",
        f"{valid.mean():.4f}",
        f"{test.mean():.4f}",
        f"{difference.mean():+.4f} ± {error:.4f}",
        f"{ttest_rel(valid, test).pvalue:.1g}",
    ]


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", default="ml-100k", help="separated by commas")
    parser.add_argument("--data_path", help="folder of the datasets (default: as in `run`)")
    parser.add_argument("--valid_choice", help="random | later (default: as in `run`)")
    parser.add_argument("--valid_ratio", type=float, help="share of train (default: as in `run`)")
    parser.add_argument("--users", type=int, default=2000, help="users compared, at most")
    parser.add_argument("--seed", type=int, default=0, help="of the users that are drawn")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    keys = "data_path", "valid_choice", "valid_ratio"
    given = {key: getattr(options, key) for key in keys}
    rows = [
        compare(name, given, options.users, options.seed)
        for name in tqdm(options.datasets.split(","), leave=False)
    ]
    print(pipe_table(COLUMNS, rows))


if __name__ == "__main__":
    main()
