"""The setting ``split``: names for how rows become train, validation and test.

| split         | train, validation and test are                                               |
|---------------|------------------------------------------------------------------------------|
| random        | 80, 10 and 10 % of each user's rows, drawn by ``split_seed``                 |
| leave_one_out | each user's rows but the last two, the last but one, the last one, in time   |
| time_per_user | the first 80 %, the next 10 % and the last 10 % of each user's rows, in time |
| global_time   | rows before one time, from it on, and from a second time on, for all users;  |
|               | the times are those of the rows from which on 20 % and 10 % of the rows lie  |
| cold_users    | all rows of 80, 10 and 10 % of the users, drawn by ``split_seed``            |
| cold_items    | all rows of 80, 10 and 10 % of the items, drawn by ``split_seed``            |
| fixed         | the files that ``benchmark_filename`` names                                  |

In leave_one_out a user with two rows has none in validation, and a user with one row is in train
alone. In time_per_user and leave_one_out train holds rows that are later than another user's test
rows: a model learns from the future which items will be popular. global_time has no such leak. Its
rows of the cut's own second stand all on the later side.

A cold user has no row in train, and a cold item none. No history is shown to the model at the test
either. For cold users every model that learns from pairs ranks items by popularity in train
(``cold_test_users: rank``, which cold_users sets); what such a model knows of a cold item is its
initial weights. Models that learn from features know their features. refit and published train on
validation too, so that only the test users or items are cold for them.
"""

from collections.abc import Mapping

_RATIOS = [0.8, 0.1, 0.1]
#: What RecBole's ``eval_args`` are for each split. RecBole's own split is not used for `OURS`.
SPLITS = {
    "random": {"split": {"RS": _RATIOS}, "order": "RO", "group_by": "user"},
    "leave_one_out": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"},
    "time_per_user": {"split": {"RS": _RATIOS}, "order": "TO", "group_by": "user"},
    "global_time": {"split": {"RS": _RATIOS}, "order": "TO", "group_by": "none"},
    "cold_users": {"split": {"RS": _RATIOS}, "order": "RO", "group_by": "none"},
    "cold_items": {"split": {"RS": _RATIOS}, "order": "RO", "group_by": "none"},
    "fixed": {},
}
#: Splits that RecBole does not have.
OURS = frozenset({"global_time", "cold_users", "cold_items"})


def eval_args_of(split: str, given: Mapping, files: list[str] | None, dataset: str) -> dict:
    """Returns what a split sets in RecBole's ``eval_args``.

    Args:
        split: One of `SPLITS`.
        given: The ``eval_args`` that the user gave.
        files: The parts that the dataset has as files, or None.
        dataset: The dataset's name, for messages.

    Raises:
        ValueError: If the split is unknown, contradicts ``eval_args``, or cannot be made of the
            dataset's files.
    """
    if not isinstance(split, str) or split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if split == "fixed" and not files:
        raise ValueError(
            f"split fixed needs files: benchmark_filename must name the parts of {dataset}, "
            f"[train, test] or [train, valid, test], got {files!r}"
        )
    if split != "fixed" and files:
        raise ValueError(
            f"split {split} needs a dataset in one file, and {dataset} is split already "
            f"(benchmark_filename {files}); accepted is fixed"
        )
    for key, value in SPLITS[split].items():
        if key in given and given[key] != value:
            raise ValueError(
                f"split {split} and eval_args {key} {given[key]!r} are given together, and split "
                f"sets {key} to {value!r}: give one of the two"
            )
    return SPLITS[split]
