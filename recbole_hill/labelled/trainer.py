"""Evaluation of models of labelled impressions: by the labels of every task, and by ranking.

Value metrics compare predicted probabilities with labels; ranking metrics judge lists of items.
"""

from collections import OrderedDict

import numpy as np
import torch
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct
from recbole.evaluator.register import metric_information
from torch import Tensor
from tqdm import tqdm

from recbole_hill.data.tasks import label_matrix
from recbole_hill.evaluation.retrieval import index_recall
from recbole_hill.host.metrics import TRAIN_RATE
from recbole_hill.labelled.cost import serving_cost
from recbole_hill.labelled.search import ExhaustiveSearch, NetworkSearch
from recbole_hill.retrieval.vector_search import VectorSearch
from recbole_hill.train.trainer import RunTrainer


class LabelledTrainer(RunTrainer):
    """The trainer of a :class:`~recbole_hill.labelled.model.LabelledModel`.

    Metrics of the first task have their plain names. Metrics of any other task end in ``_<task>``.

    Settings: ``ranking_metrics`` (names of RecBole's ranking metrics, computed at ``topk``),
    ``ranking_users`` (number of test users for whom items are ranked, drawn by ``split_seed``; None
    for all).
    """

    def __init__(self, config, model):
        super().__init__(config, model)
        _require_list_metrics(config["ranking_metrics"])
        ranking = {key: config[key] for key in ("topk", "metric_decimal_place")}
        self.ranking = Evaluator({**ranking, "metrics": config["ranking_metrics"]})

    @property
    def ranking_evaluator(self) -> Evaluator:
        """RecBole's evaluator of ``ranking_metrics``."""
        return self.ranking

    def test(self, data) -> dict[str, float]:
        """Returns the value metrics of the test rows and the ranking metrics over all items."""
        return {**super().test(data), **self.rank(data, show_progress=self.show_progress)}

    def costs(self, data) -> dict[str, dict]:
        """Returns the cost of a request, under the name ``serving``."""
        return {"serving": self.serving_cost(data)}

    def evaluate(self, eval_data, load_best_model=True, model_file=None, show_progress=False):
        """Returns the value metrics of every task over the loader's labelled rows.

        Args: as RecBole's ``evaluate``.
        """
        if load_best_model:
            self._load_best(model_file)
        self.model.eval()
        rows = eval_data._dataset.inter_feat
        probabilities = self.model.probabilities(rows).cpu()
        self.require_finite("probabilities", probabilities)
        return self.judge(probabilities, rows)

    def judge(self, probabilities: Tensor, rows) -> OrderedDict:
        """Returns the value metrics of every task.

        Args:
            probabilities: Predicted probabilities, shape (N, T).
            rows: RecBole Interaction of the N labelled impressions.

        Returns:
            Metrics by name.
        """
        labels = label_matrix(rows, self.model.tasks)
        rates = self.model.data.base_rates.tolist()
        result: OrderedDict = OrderedDict()
        for column, task in enumerate(self.model.tasks):
            struct = DataStruct()
            struct.set("rec.score", probabilities[:, column])
            struct.set("data.label", labels[:, column])
            struct.set(TRAIN_RATE, rates[column])
            suffix = f"_{task.name}" if column else ""
            for name, value in self.evaluator.evaluate(struct).items():
                result[name + suffix] = float(value)
        return result

    def rank(self, data, show_progress: bool = False) -> dict[str, float]:
        """Ranks all items for each test user with a relevant item, and returns the ranking metrics.

        A relevant item has a test row whose first label is 1. Lists leave out the items that the
        user was shown in train, and under ``holdout`` also in validation.

        Args:
            data: The run's data.
            show_progress: Whether to show a bar.

        Returns:
            Metrics by name, such as ``recall@20``.
        """
        self.model.eval()
        truth, seen = self.relevant(data), self.shown(data)
        users, searcher = truth[0].unique(), self.list_search()
        hits = []
        for part in tqdm(
            users.split(256), desc="ranking", disable=not show_progress or None, leave=False
        ):
            lists = searcher.search(part, max(self.config["topk"]), _of(seen, part))[1]
            self.eval_collector.note_lists(lists)
            hits.append(_hits(lists, _of(truth, part), self.model.n_items))
        struct = DataStruct()
        struct.set("rec.topk", torch.cat(hits))
        return dict(self.ranking.evaluate(struct))

    def list_search(self) -> NetworkSearch | VectorSearch:
        """Returns the search that makes the lists of :meth:`rank`: the model's own."""
        return self.model.searcher()

    def serving_cost(self, data) -> dict:
        """Returns the cost of a request, and how many of the exact best items the search finds.

        The cost is that of :func:`~recbole_hill.labelled.cost.serving_cost`. ``index_recall@k`` is
        added for each k of ``topk``: the share of the exact top k that the search finds.
        """
        self.model.eval()
        truth, (seen_by, seen) = self.relevant(data), self.shown(data)
        users, topk = truth[0].unique(), self.config["topk"]
        cost = serving_cost(self.model, users, max(topk), lambda user: seen[seen_by == user])
        exact, served = (self.model.searcher(full) for full in (True, False))
        if isinstance(served, ExhaustiveSearch):
            return {**cost, **{f"index_recall@{k}": 1.0 for k in topk}}
        some = users[:512]
        lists = [
            searcher.search(some, max(topk), _of((seen_by, seen), some))[1].cpu()
            for searcher in (exact, served)
        ]
        recalls = {f"index_recall@{k}": index_recall(*(ids[:, :k] for ids in lists)) for k in topk}
        return {**cost, **recalls}

    def ranked_users(self, data) -> Tensor:
        """Returns the test users with a relevant item, in the order of :meth:`rank`, shape (U,)."""
        return self.relevant(data)[0].unique()

    def relevant(self, data) -> tuple[Tensor, Tensor]:
        """Returns users and items of the test rows whose first label is 1, each (E,).

        Pairs that were shown before the test are left out, because no list contains them. If
        ``ranking_users`` is set, only that many users are returned.

        Raises:
            ValueError: If no pair is left.
        """
        rows, n_items = data.test._dataset.inter_feat, self.model.n_items
        users, items = rows[self.model.USER_ID], rows[self.model.ITEM_ID]
        shown_users, shown_items = self.shown(data)
        new = ~torch.isin(users * n_items + items, shown_users * n_items + shown_items)
        task = self.model.tasks[0].name
        wanted = new & (rows[task] > 0)
        if not bool(wanted.any()):
            raise ValueError(
                f"no test row of task {task} is 1 for an item that its user was not shown before: "
                f"there is nothing to rank"
            )
        return self._sampled(users[wanted], items[wanted])

    def _sampled(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the pairs of ``ranking_users`` drawn users; all pairs if there are no more."""
        unique, wanted = users.unique().numpy(), self.config["ranking_users"]
        if wanted is None or wanted >= len(unique):
            return users, items
        rng = np.random.default_rng(self.config["split_seed"])
        kept = torch.isin(users, torch.from_numpy(rng.choice(unique, wanted, replace=False)))
        return users[kept], items[kept]

    def shown(self, data) -> tuple[Tensor, Tensor]:
        """Returns users and items of the rows before the test, each (E,)."""
        loaders = [data.train] + ([data.valid] if self.config["protocol"] == "holdout" else [])
        rows = [loader._dataset.inter_feat for loader in loaders]
        fields = self.model.USER_ID, self.model.ITEM_ID
        return tuple(torch.cat([part[field] for part in rows]) for field in fields)


def _require_list_metrics(names) -> None:
    """Refuses a ``ranking_metrics`` that needs more than the relevant places of a list."""
    accepted = [name for name, needs in metric_information.items() if needs == ["rec.topk"]]
    wrong = [n for n in names if str(n).lower() not in accepted] if isinstance(names, list) else []
    if wrong or not isinstance(names, list) or not names:
        raise ValueError(
            f"ranking_metrics must be a list of {', '.join(sorted(accepted))}, got "
            f"{wrong[0] if wrong else names!r}"
        )


def _of(pairs: tuple[Tensor, Tensor], users: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the pairs of some users, with row numbers of ``users`` in place of user ids.

    Args:
        pairs: User ids and item ids, each (E,).
        users: User ids, ascending, shape (U,).
    """
    places = torch.searchsorted(users, pairs[0]).clamp_max(len(users) - 1)
    belongs = users[places] == pairs[0]
    return places[belongs], pairs[1][belongs]


def _hits(lists: Tensor, truth: tuple[Tensor, Tensor], n_items: int) -> Tensor:
    """Returns which places of a user's list are relevant, and the user's number of relevant items.

    The format is RecBole's ``rec.topk``: shape (B, k + 1), int.
    """
    keys = np.unique((truth[0] * n_items + truth[1]).numpy())
    own = np.arange(len(lists))[:, None] * n_items + lists.numpy()
    hit = np.isin(own, keys) & (lists.numpy() >= 0)
    relevant = np.bincount(keys // n_items, minlength=len(lists))
    return torch.from_numpy(np.concatenate((hit, relevant[:, None]), 1).astype(np.int64))
