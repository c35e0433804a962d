"""Writes a study's report in every format."""

from pathlib import Path

from recbole_hill.report.cells import Study, read_study
from recbole_hill.report.delimited import csv_table
from recbole_hill.report.document import Table
from recbole_hill.report.latex import latex
from recbole_hill.report.markdown import escape, markdown
from recbole_hill.report.page import html_page
from recbole_hill.report.study import study_table
from recbole_hill.run.files import atomic_path, refuse_link


def write_report(
    study: Path, output: Path | None = None, reference: str | None = None
) -> dict[str, Path]:
    """Writes ``table.md``, ``table.tex``, ``table.csv`` and ``index.html``.

    Args:
        study: A study's folder.
        output: Where to write; ``study/report`` if None.
        reference: See :func:`recbole_hill.report.study.study_table`.

    Returns:
        The files by format: ``markdown``, ``latex``, ``csv``, ``html``. One that was there before
        is replaced whole or left as it was.

    Raises:
        FileNotFoundError: If there is no study.
        ValueError: If its rows must not stand in one table.
    """
    read = read_study(study)
    return write_tables(read, study_table(read, reference), output)


def write_tables(read: Study, table: Table, output: Path | None = None) -> dict[str, Path]:
    """Writes the files of :func:`write_report` for a study that is read already.

    Args:
        read: The study.
        table: Its table.
        output: See :func:`write_report`.
    """
    if output is None:
        output = read.folder / "report"
        refuse_link(output)
    about = read.about
    label = f"{about['table']}-{about['dataset']}"
    texts = {
        "markdown": ("table.md", f"# {escape(table.title)}\n\n{markdown(table)}\n"),
        "latex": ("table.tex", latex(table, label)),
        "csv": ("table.csv", csv_table(table)),
        "html": ("index.html", html_page([(read, table)])),
    }
    for name, text in texts.values():
        with atomic_path(output / name) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return {kind: output / name for kind, (name, _) in texts.items()}
