"""How much of scoring every item HSNN's search keeps, and how fast, if true chances are known.

    python benchmarks/hsnn_serving.py --beams=20,40,80 saved/TTSN saved/MONN saved/HSNN

Give the same numbers of rows, items and users (and the same seed) as to `synthetic_impressions.py`,
which wrote the log. Each run lists the best unseen items of sampled users, one request at a time:
by scoring all items, and with HSNN also by searching its index, once per beam. The table has

- NE (normalised entropy) on the test rows;
- the true chance: the mean true click probability of the 20 items listed;
- its ratio to the reference's true chance, which is the ratio of their recalls, expected over all
  clicks that could be;
- the share of the exact lists (scoring all items) that is found, for the exact lists of the same
  run and of the reference;
- pairs per request and layer;
- the median request's milliseconds.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
from synthetic_impressions import Log

from recbole_hill.data.tasks import label_matrix
from recbole_hill.evaluation.retrieval import index_recall
from recbole_hill.host.metrics import normalised_entropy
from recbole_hill.labelled.hsnn import HSNN
from recbole_hill.report.markdown import pipe_table
from recbole_hill.serve.loaded_run import LoadedRun

K = 20
COLUMNS = (
    "run",
    "search",
    "NE",
    f"true chance @{K}",
    "x the reference's",
    "of its own exact lists",
    "of the reference's",
    "pairs a request",
    "ms a request",
    "x faster than the reference",
)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", help="folders of finished runs on one log")
    parser.add_argument("--reference", help="the run that the others are beside (the first MoNN)")
    parser.add_argument("--rows", type=int, default=Log.n_rows)
    parser.add_argument("--items", type=int, default=Log.n_items)
    parser.add_argument("--users", type=int, default=Log.n_users)
    parser.add_argument("--seed", type=int, default=Log.seed)
    parser.add_argument("--beams", default="20", help="nodes kept per node layer, by commas (20)")
    parser.add_argument("--requests", type=int, default=50, help="users, drawn (50)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    log = Log(options.rows, options.items, options.users, options.seed)
    beams = [int(width) for width in options.beams.split(",")]

    served = {folder: LoadedRun.load(folder) for folder in options.runs}
    monns = [folder for folder, run in served.items() if type(run.model).__name__ == "MoNN"]
    reference = options.reference or (monns or options.runs)[0]
    users = _sample(served[reference], options.requests)
    exact = {
        folder: _answer(run, users, run.model.searcher(full=True)) for folder, run in served.items()
    }
    of_reference, _, reference_ms = exact[reference]
    reference_chance = _true_chance(log, served[reference], users, of_reference)

    lines = []
    for folder, run in served.items():
        searches = {"all items": exact[folder]}
        if isinstance(run.model, HSNN):
            for width in beams:
                run.model.settings["beam_width"] = width
                searches[f"beam {width}"] = _answer(run, users, run.model.searcher())
        error = _ne(run)
        for name, (lists, pairs, ms) in searches.items():
            chance = _true_chance(log, run, users, lists)
            lines.append(
                (
                    Path(folder).name,
                    name,
                    f"{error:.4f}",
                    f"{chance:.4f}",
                    f"{chance / reference_chance:.3f}",
                    f"{index_recall(exact[folder][0], lists):.4f}",
                    f"{index_recall(of_reference, lists):.4f}",
                    ", ".join(f"{count:,.0f}" for count in pairs),
                    f"{ms:.1f}",
                    f"{reference_ms / ms:.1f}",
                )
            )
    print(pipe_table(COLUMNS, lines))
    best = _likeliest(log, served[reference], users)
    print(f"\n{len(users)} requests, {options.threads} threads; reference {Path(reference).name};")
    print(f"true chance of the likeliest {K} unseen items: {best:.4f}")


def _sample(run: LoadedRun, n_users: int) -> torch.Tensor:
    """Draws users, as RecBole's ids."""
    drawn = np.random.default_rng(0).permutation(run.model.n_users - 1)[:n_users]
    return torch.from_numpy(np.sort(drawn) + 1)


def _answer(
    run: LoadedRun, users: torch.Tensor, searcher
) -> tuple[torch.Tensor, list[float], float]:
    """Returns lists (N, K), pairs per request and layer, and the median request's milliseconds."""
    lists, millis = [], []
    rows, items = run.seen(users)
    for row, user in enumerate(users):
        seen = items[rows == row]
        exclude = torch.zeros_like(seen), seen
        started = time.perf_counter()
        lists.append(searcher.search(user[None], K, exclude)[1])
        millis.append(1000 * (time.perf_counter() - started))
    pairs = [count / searcher.queries for count in searcher.pairs]
    return torch.cat(lists), pairs, float(np.median(millis))


def _true_chance(log: Log, run: LoadedRun, users: torch.Tensor, lists: torch.Tensor) -> float:
    """Returns the mean true click probability of the listed items; empty places count as 0."""
    own, of = _written(run, users, lists)
    return float((log.probability(own[:, None], of) * (lists >= 0).numpy()).mean())


def _likeliest(log: Log, run: LoadedRun, users: torch.Tensor) -> float:
    chances = []
    everything = torch.arange(1, run.model.n_items)
    own, of = _written(run, users, everything)
    rows, items = run.seen(users)
    for row, written in enumerate(own):
        chance = log.probability(written, of)
        chance[items[rows == row].numpy() - 1] = 0
        chances.append(np.sort(chance)[-K:])
    return float(np.mean(chances))


def _written(run: LoadedRun, users: torch.Tensor, items: torch.Tensor) -> tuple[np.ndarray, ...]:
    """Returns the log's numbers of users and items; item -1 (no item) becomes item 0."""
    fields = run.model.USER_ID, run.model.ITEM_ID
    tokens = [run.data.dataset.field2id_token[field] for field in fields]
    own, of = users.numpy(), items.clamp_min(1).numpy()
    return tokens[0][own].astype(np.int64), tokens[1][of].astype(np.int64)


def _ne(run: LoadedRun) -> float:
    rows = run.data.test._dataset.inter_feat
    labels = label_matrix(rows, run.model.tasks)[:, 0].numpy()
    return normalised_entropy(run.model.predict(rows).cpu().numpy(), labels)


if __name__ == "__main__":
    main()
