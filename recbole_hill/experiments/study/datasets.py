"""A paper's table of datasets beside counts of the files on this machine."""

from collections.abc import Sequence

from recbole_hill.config.config import HillConfig
from recbole_hill.config.properties import read_properties
from recbole_hill.data.splits import create_dataset, require_files
from recbole_hill.report.markdown import note_list, pipe_table

_COLUMNS = ("users", "items", "interactions", "density")


def datasets_table(
    number: str, names: Sequence[str] | None = None, settings: dict | None = None
) -> str:
    """Returns users, items, interactions and density of each dataset, ours above the paper's.

    Args:
        number: The table's number, a file of ``properties/table``.
        names: Datasets; None: the paper's. Where a dataset's files are missing, a note says how to
            get them.
        settings: Settings such as ``data_path``.
    """
    table = read_properties("table", f"{number}.yaml")
    printed, texts = table["rows"], table.get("notes", {})
    lines: list[list[str]] = []
    notes: list[str] = []
    for name in names or printed:
        paper = printed.get(name, {})
        try:
            lines.append([name, "here", *_shown(measure(name, settings))])
        except FileNotFoundError as error:
            lines.append([name, "here", *("–" for _ in _COLUMNS)])
            notes.append(str(error))
        if "paper" in paper:
            mark = ""
            if "note" in paper:
                notes.append(texts[paper["note"]])
                mark = f" [{len(notes)}]"
            lines.append(["", f"paper{mark}", *_shown(paper["paper"])])
    table = pipe_table(["dataset", "", *_COLUMNS], lines)
    return "\n".join(
        [table, "", *note_list(f"[{i}] {note}" for i, note in enumerate(notes, start=1))]
    )


def measure(name: str, settings: dict | None = None) -> tuple[int, int, int, float]:
    """Returns users, items, interactions and their share of all pairs, all parts together.

    Raises:
        FileNotFoundError: If the dataset's files are missing; the error says how to get them.
    """
    config = HillConfig("Pop", name, None, settings)
    require_files(config)
    dataset = create_dataset(config)
    users, items, pairs = dataset.user_num - 1, dataset.item_num - 1, dataset.inter_num
    return users, items, pairs, pairs / (users * items)


def _shown(values: Sequence[float]) -> list[str]:
    *counts, density = values
    return [*(f"{count:,}" for count in counts), f"{density:.3%}"]
