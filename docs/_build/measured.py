"""What was measured of a model, from the rows that results/ keeps."""

import json
from collections import defaultdict
from functools import cache
from pathlib import Path

import markup

from recbole_hill.config.properties import read_properties
from recbole_hill.report.lines import training_seconds
from recbole_hill.report.seeds import identity, spread

RESULTS = Path(__file__).resolve().parents[2] / "results"
#: A file with more lines on a model than this is linked, and not repeated on the model's page; so
#: is a file whose lines differ in settings that no name tells.
MOST = 12
METRICS = ("recall@20", "ndcg@20")
LABELLED = ("ne", "auc")
EXPLANATION = (
    "Mean ± sample standard deviation over the seeds. The file of a row holds its command, "
    "settings, data hash and machine. [Protocols](../concepts/protocols.md) say what a number "
    "means: numbers under `published` were chosen on the test set, as the papers' were. Seconds "
    "are of training, on a machine that did other work too. MiB is the largest memory of the "
    "process."
)
PAPER = (
    " The paper's numbers are those of HILL's Table 3, or of the source that "
    "`properties/table/3.yaml` names. They stand beside rows that are trained on all of train, as "
    "theirs."
)


def by_model() -> dict[str, list[dict]]:
    """Returns every row of results/, with its file and, for a cell of a study, the study's row.

    Records of scripts in benchmarks/ are no rows of a run, and name no model.
    """
    rows = defaultdict(list)
    for file in sorted(RESULTS.rglob("*.jsonl")):
        for text in file.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            for row in line.get("rows", [line]):
                named = {"file": file.relative_to(RESULTS).as_posix(), "row": line.get("row")}
                if "model" in row:
                    rows[row["model"]].append({**row, **named})
    return rows


def section(name: str, rows: list[dict]) -> list[str]:
    """Returns the parts of a model's page on results and cost.

    Args:
        name: The model.
        rows: Its rows, of :func:`by_model`.
    """
    if not rows:
        return ["## Results and cost", "No run of this model is kept in results/ so far."]
    files: dict[str, dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        alike = json.dumps([row["row"], row["arm"], identity(row)], sort_keys=True)
        files[row["file"]][alike].append(row)
    metrics = LABELLED if all("ne" in row["metrics"] for row in rows) else METRICS
    printed = _published().get(name, {})
    paper = [f"paper's {metric}" for metric in METRICS] if printed else []
    shown = [file for file, groups in files.items() if _is_clear([*groups.values()])]
    lines = [
        _line(file, group, metrics, printed) for file in shown for group in files[file].values()
    ]
    head = ["rows", "protocol", "of", "seeds", *metrics, *paper, "seconds", "MiB"]
    more = ", ".join(_link(file) for file in files if file not in shown)
    return [
        "## Results and cost",
        EXPLANATION + (PAPER if paper else ""),
        *([markup.table(head, lines)] if lines else []),
        *([f"More rows of this model: {more}."] if more else []),
    ]


@cache
def _published() -> dict[str, dict]:
    """Returns the paper's numbers by model and dataset: recall@20 and ndcg@20."""
    table = read_properties("table", "3.yaml")
    return {**table["rows"], **table["beyond"]}


def _line(file: str, rows: list[dict], metrics: tuple[str, str], printed: dict) -> list[str]:
    """Returns a line of the table: comparable rows, which differ in their seed alone."""
    first = rows[0]
    as_printed = _names(first) == [first["model"]] and first["protocol"] != "holdout"
    paper = printed.get(first["dataset"], ["", ""]) if as_printed else ["", ""]
    return [
        _link(file),
        first["protocol"],
        ", ".join(_names(first)),
        str(len(rows)),
        *(spread([row["metrics"][metric] for row in rows]) for metric in metrics),
        *(f"{number:.4f}" if number else "" for number in paper if printed),
        f"{sum(map(training_seconds, rows)) / len(rows):,.0f}",
        f"{max(row['peak_memory_mib'] for row in rows):,}",
    ]


def _is_clear(groups: list[list[dict]]) -> bool:
    """Returns whether a file's lines are few, and each has a name of its own."""
    return len(groups) <= MOST and len({tuple(_names(rows[0])) for rows in groups}) == len(groups)


def _names(row: dict) -> list[str]:
    """Returns the name of a row: the study's row, and the arm where it says more."""
    return list(dict.fromkeys(name for name in (row["row"], row["arm"]) if name))


def _link(file: str) -> str:
    return f"[{file.removesuffix('.jsonl')}](../results/{file})"
