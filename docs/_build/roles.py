"""Griffe's extension: the API pages read docstrings as Markdown."""

import sys
from pathlib import Path

import griffe

sys.path.insert(0, str(Path(__file__).parent))
from docstrings import plain


class Roles(griffe.Extension):
    """Rewrites the docstrings of a package before they are read."""

    def on_object(self, *, obj, **_):
        """Griffe's hook for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = plain(obj.docstring.value)
