"""Cost and index recall of a finished run's search, measured on the test users."""

import torch

from recbole_hill.evaluation.retrieval import compare_retrievers
from recbole_hill.train.index_stage import IndexTrainer


def retrieval_cost(trainer: IndexTrainer, test) -> dict:
    """Returns the index recall of a search and the share of items that it scores, on test users.

    Index recall is the share of the items of exact search that the search finds. The search is the
    one that ``retrieval`` names; where ``retrieval`` is exact, beam search is measured.

    Args:
        trainer: Trainer whose model has the weights that are served.
        test: RecBole's full-sort test loader, for its users and the items that they have seen.

    Returns:
        Numbers by name, and the name of the search.
    """
    users, items = trainer.model.vectors()
    histories = [test.uid2history_item[user] for user in test.uid_list.tolist()]
    lengths = torch.tensor([0 if seen is None else len(seen) for seen in histories])
    seen_by = torch.repeat_interleave(lengths)
    seen = torch.cat([seen for seen in histories if seen is not None])
    name = "faiss" if trainer.settings.retrieval == "faiss" else "beam"
    searches = [trainer.retriever(each, items) for each in ("exact", name)]
    measured = compare_retrievers(
        *searches, users[test.uid_list], trainer.config["topk"], exclude=(seen_by, seen)
    )
    return {"search": name, **measured}
