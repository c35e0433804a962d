"""A table in LaTeX, with the packages booktabs and adjustbox."""

import re

from recbole_hill.report.document import (
    Line,
    Number,
    Table,
    difference_text,
    inline,
    published_text,
)
from recbole_hill.run.text import printable

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    # After a line's end, \\, a bracket or a star would be read as its argument.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "-": "{-}",  # --model is no dash
    "–": "--",
    "—": "---",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "…": r"\ldots{}",
}


def latex(table: Table, label: str = "results") -> str:
    r"""Returns a floating table, no wider than the page.

    The text needs ``booktabs``, ``adjustbox`` and, for quotes, ``textcomp`` and T1. The best number
    of a column is bold, the second underlined, marks are superscripts.

    Args:
        table: The table.
        label: The label that ``\ref`` refers to.
    """
    columns = [table.head]
    columns += ["arm"] if table.has_arms else []
    columns += table.metrics
    columns += ["published", "difference"] if table.has_published else []
    columns += table.extra_columns
    n_names = 2 if table.has_arms else 1
    body, previous = [], None
    for line in table.lines:
        if table.has_arms and previous not in (None, line.name):
            body.append(r"\addlinespace")
        body.append(" & ".join(_cells(table, line, previous)) + r" \\")
        previous = line.name
    return "\n".join(
        [
            r"% \usepackage[T1]{fontenc} \usepackage{adjustbox,booktabs,textcomp}",
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{escape(table.title)}}}",
            rf"\label{{tab:{_label(label)}}}",
            r"\begin{adjustbox}{max width=\linewidth}",
            rf"\begin{{tabular}}{{{'l' * n_names + 'r' * (len(columns) - n_names)}}}",
            r"\toprule",
            " & ".join(map(escape, columns)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{adjustbox}",
            *_notes(table),
            r"\end{table}",
            "",
        ]
    )


def _label(text: str) -> str:
    """Returns a label of the characters that LaTeX takes in one; any other becomes a dash."""
    return re.sub(r"[^A-Za-z0-9:.-]", "-", text)


def escape(text: str) -> str:
    """Returns the text as one line with every special character of LaTeX escaped."""
    plain = printable(text.replace("\n", " "))
    return "".join(_SPECIAL.get(character, character) for character in plain)


def _notes(table: Table) -> list[str]:
    if not table.notes:
        return []
    notes = [
        inline(note, escape, r"\texttt{{{}}}".format, r"\textbf{{{}}}".format)
        for note in table.notes
    ]
    return [
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}\footnotesize",
        *(note + r"\par" for note in notes),
        r"\end{minipage}",
    ]


def _cells(table: Table, line: Line, previous: str | None) -> list[str]:
    name, *arm = map(escape, table.names(line))
    if line.note:
        name += rf"\textsuperscript{{{line.note}}}"
    # Only the first line of a group of arms carries the name.
    cells = ["" if table.has_arms and line.name == previous else name, *arm]
    cells += map(_number, line.numbers)
    if table.has_published:
        source = f" ({line.source})" if line.source else ""
        cells.append(escape("/".join(map(published_text, line.published)) + source))
        differences = escape(" / ".join(map(difference_text, line.differences)))
        cells.append(differences.replace("{-}", "$-$"))
    return [*cells, *map(escape, line.extra_cells)]


def _number(number: Number | str) -> str:
    if isinstance(number, str):
        return escape(number)
    text = escape(number.text)
    if number.rank == 1:
        # In mathematics, \boldmath makes the sign of plus and minus bold too.
        text = rf"\textbf{{\boldmath {text}}}"
    elif number.rank == 2:
        text = rf"\underline{{{text}}}"
    return text + (rf"\textsuperscript{{{escape(number.mark)}}}" if number.mark else "")
