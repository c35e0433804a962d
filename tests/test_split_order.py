"""The order that item numbers keep: a drift that was planted."""

import numpy as np
import pytest
from test_validation import matrix


@pytest.fixture(scope="module")
def split_order(import_benchmark):
    return import_benchmark("split_order")


def test_finds_that_the_test_set_is_later(split_order):
    """Users turn from group to group; the last four items of each are his test items."""
    rng = np.random.default_rng(0)
    n_users, n_groups, size = 300, 12, 25
    pools = np.arange(n_groups * size).reshape(n_groups, size)
    histories = []
    for _ in range(n_users):
        start = rng.integers(n_groups)
        groups = [(start + step) % n_groups for step in range(4)]
        histories.append(np.concatenate([rng.permutation(pools[g])[:6] for g in groups]).tolist())

    def rise_in_errors(cut_off_the_end: bool) -> tuple[float, float]:
        number, train, held = {}, [], []
        for order in histories:
            last = set(order[-4:] if cut_off_the_end else rng.choice(order, 4, replace=False))
            train.append([number.setdefault(i, len(number)) for i in order if i not in last])
            held.append(last)
        test = [[number[i] for i in sorted(last) if i in number] for last in held]
        parts = matrix(train, len(number)), matrix(test, len(number))
        rises = [
            values[:, -1] - values[:, 0]
            for values in (
                split_order.profile(*parts, 5),
                split_order.profile(*parts, 5, np.random.default_rng(1)),
            )
        ]
        return tuple(r.mean() / (r.std() / np.sqrt(len(r))) for r in rises)

    later, shuffled = rise_in_errors(cut_off_the_end=True)
    assert later > 3 > abs(shuffled)
    assert abs(rise_in_errors(cut_off_the_end=False)[0]) < 3
