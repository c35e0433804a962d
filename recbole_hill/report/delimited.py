"""A table as CSV in tidy form: one record per row and metric, with how the number was made."""

import csv
import io

from recbole_hill.report.document import Line, Number, Table
from recbole_hill.run.text import spreadsheet_cell

#: How the numbers were made, in the order of the columns.
MADE = (
    "model",
    "dataset",
    "data_sha256",
    "protocol",
    "test_selected",
    "split_seed",
    "commit",
    "versions",
    "device",
    "seconds",
    "peak_memory_mib",
    "command",
)
COLUMNS = (
    "row",
    "arm",
    "metric",
    "mean",
    "deviation",
    "n",
    "seeds",
    "published",
    "difference",
    "reference",
    "mean_difference",
    "low",
    "high",
    "t_p",
    "wilcoxon_p",
    "seeds_t_p",
    "seeds_wilcoxon_p",
    "status",
    *MADE,
)


def csv_table(table: Table) -> str:
    """Returns one record per line and metric.

    ``deviation`` is the sample standard deviation over ``n`` seeds, ``difference`` the relative
    difference to the published number. ``mean_difference`` is the mean difference to ``reference``
    over users, ``low`` and ``high`` its 95 % bootstrap interval. ``t_p`` and ``wilcoxon_p`` are p
    values over users, adjusted for the number of rows compared; ``seeds_t_p`` and
    ``seeds_wilcoxon_p`` are p values over seeds, not adjusted. In a row without numbers ``status``
    says why. Unknown values are empty. A text that a spreadsheet would take for a formula has an
    apostrophe before it.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for line in table.lines:
        for metric, number in zip(table.metrics, line.numbers, strict=True):
            record = _record(table, line, metric, number)
            writer.writerow({key: spreadsheet_cell(value) for key, value in record.items()})
    return file.getvalue()


def _record(table: Table, line: Line, metric: str, number: Number | str) -> dict:
    record = {"row": line.name, "arm": line.arm, "metric": metric}
    record |= {key: line.made.get(key) for key in MADE}
    versions = line.made.get("versions", {})
    record["versions"] = " ".join(f"{name}={version}" for name, version in versions.items())
    record["seeds"] = " ".join(map(str, line.made.get("seeds", ())))
    if isinstance(number, str):
        return record | {"status": number, "n": 0}
    low, high = number.users.interval if number.users else (None, None)
    return record | {
        "mean": number.mean,
        "deviation": number.deviation,
        "n": len(number.values),
        "published": number.published,
        "difference": number.difference,
        "reference": table.reference if number.t_p is not None else None,
        "mean_difference": number.users.mean_difference if number.users else None,
        "low": low,
        "high": high,
        "t_p": number.t_p,
        "wilcoxon_p": number.wilcoxon_p,
        "seeds_t_p": number.seeds.t_p if number.seeds else None,
        "seeds_wilcoxon_p": number.seeds.wilcoxon_p if number.seeds else None,
        "status": "done",
    }
