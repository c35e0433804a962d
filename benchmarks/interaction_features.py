"""The speed of making interaction features: the inverted index beside a loop over pairs.

    python benchmarks/interaction_features.py
    python benchmarks/interaction_features.py --items=100000 --pairs=20000

Users and items are drawn; an item has a few values of one field. Prints pairs per second of three
ways: the loop, which compares a user's engaged items with the item one by one; training pairs, each
without its target; and one user with all items. The script checks that all ways give the same
values.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import scipy.sparse as sp
import torch

from recbole_hill.data.inverted_index import History, InvertedIndex
from recbole_hill.report.markdown import pipe_table

REPEATS = 5


def loop(matrix: sp.csr_matrix, values: list[set], user: int, item: int, left_out: int) -> float:
    """Returns how many values the item shares with the user's other engaged items."""
    own = values[item]
    engaged = matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]]
    return float(sum(len(own & values[other]) for other in engaged if other != left_out))


def measure(options: argparse.Namespace) -> str:
    """Returns the Markdown table."""
    rng = np.random.default_rng(0)
    n_users, n_items, n_values = options.users, options.items, options.values
    size = n_users * options.history
    rows, columns = rng.integers(1, n_users, size), rng.integers(1, n_items, size)
    matrix = sp.csr_matrix((np.ones(size), (rows, columns)), shape=(n_users, n_items))
    values = torch.from_numpy(rng.integers(1, n_values, (n_items, options.per_item)))
    values[0] = 0
    history = History(matrix)
    index = InvertedIndex.of_history(values, n_values, history)
    users = torch.from_numpy(rng.integers(1, n_users, options.pairs))
    items = torch.from_numpy(rng.integers(1, n_items, options.pairs))
    sets = [set(row) - {0} for row in values.tolist()]

    def by_loop() -> list[float]:
        pairs = zip(users.tolist(), items.tolist(), strict=True)
        return [loop(history.matrix, sets, user, item, item) for user, item in pairs]

    shared = index.pairs(users, items, items).counts.sum(1)
    if shared.tolist() != by_loop():
        raise AssertionError("the inverted index and the loop disagree")
    one = users[:1]
    whole = index.block(one).counts.sum(2)[0, items]
    alone = index.pairs(one.expand(len(items)), items).counts.sum(1)
    if not torch.equal(whole, alone):
        raise AssertionError("one user with all items and pair by pair disagree")
    ways = {
        "loop over pairs": (by_loop, options.pairs),
        "training pairs": (lambda: index.pairs(users, items, items).dense(), options.pairs),
        "one user, all items": (lambda: index.block(one).dense(), n_items),
    }
    rates = {}
    for name, (call, n_pairs) in ways.items():
        taken = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            call()
            taken.append(n_pairs / (time.perf_counter() - started))
        rates[name] = taken
    base = statistics.median(rates["loop over pairs"])
    lines = []
    for name, taken in rates.items():
        middle = statistics.median(taken)
        spread = f"{min(taken):,.0f}-{max(taken):,.0f}"
        lines.append([name, f"{middle:,.0f} ({spread})", f"{middle / base:.1f}"])
    return pipe_table(["way", "pairs / s (slowest-fastest)", "x loop"], lines)


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line, measures, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=1000, help="users (1000)")
    parser.add_argument("--items", type=int, default=10_000, help="items (10000)")
    parser.add_argument("--values", type=int, default=300, help="values of the field (300)")
    parser.add_argument("--per_item", type=int, default=3, help="values an item holds (3)")
    parser.add_argument("--history", type=int, default=50, help="engaged items per user (50)")
    parser.add_argument("--pairs", type=int, default=5000, help="pairs to look at (5000)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    print(measure(options))


if __name__ == "__main__":
    main()
