"""What the search finds, at which cost, if nodes are scored by their best item or their mean.

    python benchmarks/node_score.py saved/HILL-RUN --beam_widths=40,40 --beam_widths=80,80

The index of the run is searched with each width (nodes kept per depth, finest first) for the same
users, without seen items. The reference is exact search.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from recbole_hill.evaluation.retrieval import compare_retrievers
from recbole_hill.report.markdown import pipe_table
from recbole_hill.retrieval.choose import choose_retriever
from recbole_hill.retrieval.widths import NODE_SCORES
from recbole_hill.serve.loaded_run import LoadedRun

TOPK = (10, 20, 50)


@torch.no_grad()
def main() -> None:
    """Prints one line per width and node score."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="folder of a finished HILL run")
    parser.add_argument("--beam_widths", action="append", required=True, help="40,80; may repeat")
    parser.add_argument("--users", type=int, default=2000, help="so many, drawn at random")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    served = LoadedRun.load(options.run)
    users, items = served.vectors
    drawn = torch.randperm(len(users) - 1, generator=torch.Generator().manual_seed(0)) + 1
    drawn = drawn[: options.users].sort().values
    exact = choose_retriever("exact", items)
    lines = []
    for text in options.beam_widths:
        widths = [int(width) for width in text.split(",")]
        for node_score in NODE_SCORES:
            beam = choose_retriever(
                "beam", items, served.index, beam_width=widths, node_score=node_score
            )
            comparison = compare_retrievers(
                exact, beam, users[drawn], TOPK, exclude=served.seen(drawn)
            )
            shares = (f"{comparison[f'index_recall@{k}']:.4f}" for k in TOPK)
            kept = ", ".join(map(str, widths))
            lines.append((kept, node_score, *shares, f"{comparison['scored_fraction']:.2%}"))
    columns = ("kept", "node_score", *(f"of the exact top {k}" for k in TOPK), "scored")
    print(pipe_table(columns, lines))


if __name__ == "__main__":
    main()
