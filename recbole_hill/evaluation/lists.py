"""Evaluation of ranked lists that something else made, by the metrics and the users of a run.

RecBole's evaluator ranks the scores of all items. Here the items of a user's list have falling
scores and all others have none, so that every metric is RecBole's own.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from recbole.evaluator import Evaluator

from recbole_hill.data.ids import Ids, places
from recbole_hill.data.splits import Data
from recbole_hill.evaluation.collector import TopListCollector
from recbole_hill.evaluation.per_user import ranked_users
from recbole_hill.host.per_user import keep_per_user


@dataclass(frozen=True)
class Judged:
    """How lists did.

    Attributes:
        metrics: As in a run's row.
        users: Internal ids of the test users, shape (U,).
        values: Every metric that is a mean over users, per test user, each of shape (U,).
        notes: What was left out of the lists, and who has none, a sentence each.
    """

    metrics: dict[str, float]
    users: np.ndarray
    values: dict[str, np.ndarray]
    notes: list[str]


def judge(lists: pd.DataFrame, config, data: Data) -> Judged:
    """Evaluates lists on the test set.

    As where a model's scores of all items are ranked, a user's items in train and validation are
    left out of his list and the others move up; so are items that the data set does not have, which
    no model could list. A test user without a list has no hits, and counts.

    Args:
        lists: Columns ``user``, ``item`` (external ids, text) and ``place`` (a number, the best
            place first); a user's places differ, a pair occurs once.
        config: The configuration that the data were loaded with.
        data: The data.

    Raises:
        ValueError: If evaluation ranks drawn items only, or no user of the lists is in the test
            set.
    """
    if not hasattr(data.test, "uid_list"):
        raise ValueError(
            f"lists are evaluated by full ranking, and eval_args mode is "
            f"{config['eval_args']['mode']!r}; accepted is full"
        )
    ids, tested = Ids.of(data.dataset), ranked_users(data.test)
    users, items = (
        _places(lists[kind], known) + 1
        for kind, known in (("user", ids.users), ("item", ids.items))
    )
    is_tested = np.isin(users, tested)
    if not is_tested.any():
        raise ValueError(
            f"no user of the lists is a test user of {config['dataset']}: the lists have users "
            f"such as {lists['user'].iloc[0]!r}, the test set such as "
            f"{str(ids.users[tested[0] - 1])!r}"
        )
    unknown = lists["item"][is_tested & (items == 0)]
    kept = is_tested & (items > 0)
    ranked = pd.DataFrame({"user": users[kept], "item": items[kept], "place": lists["place"][kept]})
    ranked = ranked.sort_values(["user", "place"], kind="stable")

    collector, evaluator = TopListCollector(config), Evaluator(config)
    collector.data_collect(data.train)
    seen_pairs = 0
    starts = np.searchsorted(ranked["user"].to_numpy(), np.arange(data.dataset.user_num + 1))
    listed = torch.from_numpy(ranked["item"].to_numpy(np.int64))
    for interaction, seen, positive_u, positive_i in data.test:
        batch = interaction[data.dataset.uid_field].numpy()
        scores = torch.full((len(batch), data.dataset.item_num), -torch.inf)
        for row, user in enumerate(batch):
            own = listed[starts[user] : starts[user + 1]]
            scores[row, own] = -torch.arange(len(own), dtype=torch.float32)
        if seen is not None:
            seen_pairs += int((scores[seen] > -torch.inf).sum())
            scores[seen] = -torch.inf
        collector.eval_batch_collect(scores, interaction, positive_u, positive_i)
    with keep_per_user(evaluator) as values:
        metrics = evaluator.evaluate(collector.get_data_struct())
    metrics = {name: float(value) for name, value in metrics.items()}
    without = len(tested) - len(np.intersect1d(tested, users))
    listed_users, lengths = np.unique(users[kept], return_counts=True)
    short = lengths[np.isin(listed_users, tested)] < max(config["topk"])
    others = len(np.unique(lists["user"][~is_tested]))
    return Judged(
        metrics,
        tested,
        values,
        _notes(config, tested, without, others, unknown, seen_pairs, int(short.sum())),
    )


def _places(tokens: pd.Series, known: np.ndarray) -> np.ndarray:
    """Returns the place of each id among the known ones, -1 for an unknown one."""
    codes, distinct = pd.factorize(tokens)
    return places(np.asarray(distinct, dtype=str), known)[codes]


def _notes(
    config, tested, without: int, others: int, unknown: pd.Series, seen: int, short: int
) -> list[str]:
    notes = []
    if without:
        notes.append(f"{without:,} of {len(tested):,} test users have no list: all misses.")
    if short:
        notes.append(
            f"{short:,} test users have lists of fewer than {max(config['topk'])} items: their "
            "missing places are misses, and metrics of longer lists than theirs are too low."
        )
    if others:
        notes.append(f"{others:,} users of the lists are no test users: left out.")
    if len(unknown):
        notes.append(
            f"{len(unknown):,} listed items are not in {config['dataset']} (such as "
            f"{str(unknown.iloc[0])!r}): left out, and the items behind them move up."
        )
    if seen:
        notes.append(
            f"{seen:,} listed items are of their user's train or validation set: left out, and "
            "the items behind them move up."
        )
    return notes
