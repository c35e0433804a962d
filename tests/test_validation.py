"""What becomes validation: by hand, uniformly, and as far from train as planted later items."""

import numpy as np
import pytest
import scipy.sparse as sp

from recbole_hill.config.config import HillConfig
from recbole_hill.data.nearness import pair_nearness
from recbole_hill.data.splits import load_data
from recbole_hill.data.validation import (
    brought_in,
    choose_later_validation,
    choose_validation,
    file_numbers,
    rates_of_later,
)


def test_choose_validation_by_hand():
    users = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    mask = choose_validation(users, 0.5, seed=3)
    assert mask.sum() == 5 and not mask[0]
    np.testing.assert_array_equal(mask, choose_validation(users, 0.5, seed=3))
    assert choose_validation(np.arange(6), 0.5, seed=0).sum() == 0  # one interaction each


def test_choose_validation_is_uniform_over_interactions():
    users = np.repeat(np.arange(20), 10)
    times = np.sum([choose_validation(users, 0.2, seed) for seed in range(500)], axis=0)
    assert times.min() > 60 and times.max() < 145  # 100 expected, 9 standard deviation


@pytest.mark.parametrize("ratio", [0, 1, -0.1])
def test_valid_ratio_is_checked(ratio):
    with pytest.raises(ValueError, match=f"valid_ratio must be between 0 and 1, got {ratio}"):
        choose_validation(np.arange(3), ratio, 0)


def matrix(lines: list[list[int]], n_items: int) -> sp.csr_matrix:
    dense = np.zeros((len(lines), n_items), dtype=np.float32)
    for user, items in enumerate(lines):
        dense[user, items] = 1
    return sp.csr_matrix(dense)


def test_items_brought_in_by_hand():
    found = brought_in(matrix([[0, 1, 2], [1, 3], [0, 2], [3, 4, 5]], 6))
    assert [x.tolist() for x in found] == [[0, 1, 2], [3], [], [4, 5]]


def test_other_numbering_is_refused():
    with pytest.raises(ValueError, match="user 1 brings in item 4 where 3 would be next"):
        brought_in(matrix([[0, 1, 2], [1, 4]], 6))


def drifting(seed: int = 0, drift: bool = True) -> tuple[list[list[int]], list[list[int]], int]:
    """Train and test lines, numbered as the items appear, of users who turn from group to group.

    Each has eight items of a first group, four of each of the next two, and is tested on five of
    the one after. Without drift the same items are listed in any order, the last five for testing.
    """
    rng = np.random.default_rng(seed)
    n_users, n_groups, size = 800, 40, 50
    pools = np.arange(n_groups * size).reshape(n_groups, size)
    number, train, test = {}, [], []
    for _ in range(n_users):
        start = rng.integers(n_groups)
        drawn = [rng.permutation(pools[(start + k) % n_groups]) for k in range(4)]
        items = np.concatenate([x[:n] for x, n in zip(drawn, (8, 4, 4, 5), strict=True)])
        if not drift:
            items = rng.permutation(items)
        train.append([number.setdefault(i, len(number)) for i in items[:16].tolist()])
        test.append(items[16:].tolist())
    test = [[number[i] for i in items if i in number] for items in test]
    return train, test, len(number)


def interactions(lines: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    users = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    return users, np.concatenate([np.sort(np.array(line, dtype=int)) for line in lines])


def mean_nearness(users, items, mask, n_items: int) -> float:
    def make(chosen):
        pairs = users[chosen], items[chosen]
        return sp.csr_matrix((np.ones(chosen.sum()), pairs), (users.max() + 1, n_items))

    return float(pair_nearness(make(~mask), make(mask))[2].mean())


def test_later_validation_is_nearer_to_the_test_set():
    train, test, n_items = drifting()
    users, items = interactions(train)
    test = matrix(test, n_items)
    random = choose_validation(users, 0.15, 1)
    later = choose_later_validation(users, items, 0.15, 1)
    target = float(pair_nearness(matrix(train, n_items), test)[2].mean())
    found = [mean_nearness(users, items, mask, n_items) for mask in (random, later)]
    assert target < found[1] < found[0]
    assert found[0] - found[1] > 0.15 * (found[0] - target)
    assert abs(later.sum() / len(users) - 0.15) < 0.03
    assert all(np.bincount(users[~later], minlength=len(train)) > 0)
    np.testing.assert_array_equal(later, choose_later_validation(users, items, 0.15, 1))
    assert (later != choose_later_validation(users, items, 0.15, 2)).any()


def test_without_drift_the_last_are_like_any():
    halves = []
    for drift in (False, True):
        train, _, n_items = drifting(drift=drift)
        rates = rates_of_later(matrix(train, n_items), np.random.default_rng(0))
        assert rates.mean() == pytest.approx(1)
        halves.append(rates.reshape(2, -1).mean(1))
    assert np.abs(halves[0] - 1).max() < 0.15
    assert halves[1][0] > 1.4 > 0.6 > halves[1][1]


def test_later_validation_checks_its_input():
    users, items = np.array([0, 0, 1]), np.array([0, 1, 2])
    with pytest.raises(ValueError, match="no user brings in 10 items"):
        choose_later_validation(users, items, 0.1, 0)
    users, items = interactions(drifting()[0])
    with pytest.raises(ValueError, match=r"valid_ratio must be between 0 and 0\.\d+ .* got 0\.9"):
        choose_later_validation(users, items, 0.9, 0)
    with pytest.raises(ValueError, match="valid_choice later needs users and items numbered"):
        file_numbers(np.array(["[PAD]", "u1"]))


def write(folder, name: str, lines: list[list[int]]) -> None:
    rows = [f"{user}\t{item}" for user, line in enumerate(lines) for item in line]
    text = "\n".join(["user_id:token\titem_id:token", *rows])
    (folder / "drift" / f"drift.{name}.inter").write_text(text + "\n")


def test_a_dataset_is_split_by_it(tmp_path):
    train, test, n_items = drifting()
    (tmp_path / "drift").mkdir()
    write(tmp_path, "train", [sorted(line) for line in train])
    write(tmp_path, "test", [line or [n_items] for line in test])
    settings = {"data_path": str(tmp_path), "benchmark_filename": ["train", "test"]}
    settings |= {"state": "ERROR", "run_dir": str(tmp_path / "run"), "valid_ratio": 0.15}
    users, items = interactions(train)
    mask = choose_later_validation(users, items, 0.15, 2020)
    config = HillConfig("BPR", "drift", None, {**settings, "valid_choice": "later"})
    valid = load_data(config).valid._dataset
    found = {
        (int(valid.field2id_token["user_id"][u]), int(valid.field2id_token["item_id"][i]))
        for u, i in zip(
            *(valid.inter_feat[f].tolist() for f in ("user_id", "item_id")), strict=True
        )
    }
    assert found == set(zip(users[mask].tolist(), items[mask].tolist(), strict=True))
    with pytest.raises(ValueError, match="valid_choice must be one of random, later, got 'latest'"):
        load_data(HillConfig("BPR", "drift", None, {**settings, "valid_choice": "latest"}))


def test_a_dataset_with_validation_refuses_to_choose_it():
    config = HillConfig("BPR", "ml-100k", None, {"state": "ERROR", "valid_choice": "later"})
    with pytest.raises(ValueError, match="valid_choice 'later' is for datasets of two files"):
        load_data(config)


def test_some_users_alone_are_validated(tiny_config):
    whole, some, again = (
        load_data(tiny_config("BPR", valid_ratio=0.3, valid_users=n)) for n in (None, 7, 7)
    )
    of_whole, of_some, of_again = (of_users(data.valid) for data in (whole, some, again))
    assert len(of_some) == 7 < len(of_whole)
    # The drawn users keep the items to find and the items to leave out.
    assert of_some == of_again == {user: of_whole[user] for user in of_some}
    assert of_users(some.test) == of_users(whole.test) and some.sha256 == whole.sha256
    everyone = load_data(tiny_config("BPR", valid_ratio=0.3, valid_users=80))
    assert of_users(everyone.valid) == of_whole


def of_users(loader) -> dict[int, tuple[set, set]]:
    """Returns each user's items to find and items to leave out of the ranking."""
    found = {}
    for users, (rows, items), of_found, to_find in loader:
        for row, user in enumerate(users["user_id"].tolist()):
            found[user] = set(to_find[of_found == row].tolist()), set(items[rows == row].tolist())
    return found
