"""Docstrings as Markdown."""

import re


def plain(text: str) -> str:
    """Returns a docstring's text with its references and its code as Markdown has them."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)  # :class:`Pairs`
    text = re.sub(r"::$", ":", text, flags=re.MULTILINE)  # before an indented block of code
    return text.replace("``", "`")
