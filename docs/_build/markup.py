"""What is looked for in the built pages."""

import re

#: What makes a browser load a file from another host. A link that is followed by a click is none.
LOADS = re.compile(
    r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["']?(?:https?:)?//"""
    r"""|<link\b(?![^>]*rel=["']?(?:canonical|next|prev))[^>]*\bhref=["']?(?:https?:)?//"""
    r"""|url\(["']?(?:https?:)?//|@import\s+["'](?:https?:)?//"""
)
#: A "less than" that Markdown takes for the start of a tag.
NO_TAG = re.compile(r"<(?=user\b|[A-Za-z][A-Za-z0-9-]*[^A-Za-z0-9\s/>-])")
