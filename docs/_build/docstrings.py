"""Docstrings as Markdown."""

import re


def plain(text: str) -> str:
    """Returns a docstring's text with references such as ``:class:`Pairs` `` as plain code."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text).replace("``", "`")
