"""Is a ready-made test set later in time than its train set? The item numbers can tell.

    python benchmarks/split_order.py --datasets=gowalla,yelp2018

The items are numbered in the order in which they first appear in the train file. A user brings in
an item if no earlier line of the file has it. So the numbers of the items that a user brings in
keep the order of the user's line, although the lines have been sorted since. If this order is time,
and the test set was cut off its end, then a user's test items are more like the last items that the
user brought in than like the first.

Prints the mean cosine (between columns of train) of a user's test items with each fifth of the
items that the user brought in, and the difference between the last and the first fifth. The control
is the same difference with these items shuffled.
"""

import argparse
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import scipy.sparse as sp
from datasets import loaded
from tqdm import tqdm

from recbole_hill.data.nearness import unit_columns
from recbole_hill.data.validation import brought_in, file_numbers
from recbole_hill.model.bases.fit_once import train_matrix
from recbole_hill.report.markdown import pipe_table

#: The items that a user brings in are divided into fifths, by their place in the user's line.
PARTS = 5
COLUMNS = (
    "dataset",
    "users",
    "first fifth",
    "2",
    "3",
    "4",
    "last",
    "last - first ± s.e.",
    "shuffled",
)


def profile(
    train: sp.csr_matrix, test: sp.csr_matrix, least: int, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Returns the mean cosine of test items with each fifth of the items brought in, (n, 5).

    Args:
        train: Binary matrix in the file's own numbers, shape (U, I).
        test: Binary matrix of the same shape.
        least: Least number of items that a user must have brought in to count.
        rng: Shuffles the items brought in; None leaves them in order.
    """
    columns = unit_columns(train).tocsc()
    rows = []
    for user, new in enumerate(brought_in(train)):
        liked = test.indices[test.indptr[user] : test.indptr[user + 1]]
        if len(new) < max(least, PARTS) or not len(liked):
            continue
        if rng is not None:
            new = rng.permutation(new)
        cosines = np.asarray((columns[:, new].T @ columns[:, liked]).mean(axis=1)).ravel()
        rows.append([part.mean() for part in np.array_split(cosines, PARTS)])
    return np.array(rows).reshape(-1, PARTS)


def in_the_files_numbers(dataset: str, data_path: str | None) -> tuple[sp.csr_matrix, ...]:
    """Returns train and test of a dataset as matrices whose rows and columns are external ids."""
    with loaded("BPR", dataset, protocol="refit", data_path=data_path) as (_, data):
        parts = data.train, data.test
    tokens = data.dataset.field2id_token
    parts = [train_matrix(part._dataset).tocoo() for part in parts]
    users, items = (
        file_numbers(tokens[field]) for field in (data.dataset.uid_field, data.dataset.iid_field)
    )
    shape = users.max() + 1, items.max() + 1
    return tuple(sp.csr_matrix((p.data, (users[p.row], items[p.col])), shape) for p in parts)


def row(dataset: str, data_path: str | None, least: int) -> list[str]:
    """Returns a dataset's row of the table."""
    train, test = in_the_files_numbers(dataset, data_path)
    ordered = profile(train, test, least)
    shuffled = profile(train, test, least, np.random.default_rng(0))
    cells = [f"{mean:.4f}" for mean in ordered.mean(0)]
    for values in (ordered, shuffled):
        rise = values[:, -1] - values[:, 0]
        cells.append(f"{rise.mean():+.4f} ± {rise.std(ddof=1) / np.sqrt(len(rise)):.4f}")
    return [dataset, f"{len(ordered):,}", *cells]


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", default="gowalla,yelp2018", help="separated by commas")
    parser.add_argument("--data_path", help="folder of the datasets (default: as in `run`)")
    parser.add_argument("--least", type=int, default=10, help="items that a user must bring in")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows = [
        row(name, options.data_path, options.least)
        for name in tqdm(options.datasets.split(","), leave=False)
    ]
    print(pipe_table(COLUMNS, rows))


if __name__ == "__main__":
    main()
