"""Markdown of the generated pages, and what is looked for in the built ones."""

import re
from collections.abc import Iterable, Sequence

from recbole_hill.report.markdown import markup_table

#: What makes a browser load a file from another host. A link that is followed by a click is none.
LOADS = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["']?(?:https?:)?//"""
    r"""|<link\b(?![^>]*rel=["']?(?:canonical|next|prev))[^>]*\bhref=["']?(?:https?:)?//"""
    r"""|url\(["']?(?:https?:)?//|@import\s+["'](?:https?:)?//"""
)
#: A "less than" that Markdown takes for the start of a tag.
NO_TAG = re.compile(r"<(?=user\b|[A-Za-z][A-Za-z0-9-]*[^A-Za-z0-9\s/>-])")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns rows of cells, in Markdown, under a head; a pipe in a cell is shown."""
    escaped = [[cell.replace("|", "\\|") for cell in cells] for cells in (head, *rows)]
    return markup_table(escaped)
