"""HTML in which text from files cannot become markup."""

from markupsafe import Markup


def html(template: str, *values) -> Markup:
    """Returns a piece of HTML with values in it.

    Every value is escaped, for elements and for attributes alike, unless it is a piece of HTML
    itself. All HTML of a page is made here; a template is a literal, never text from a file.

    Args:
        template: HTML with a ``{}`` for each value, as :meth:`str.format` reads it.
        *values: The values.
    """
    return Markup(template).format(*values)


def joined(pieces) -> Markup:
    """Returns pieces of HTML one after another; a plain string among them is escaped."""
    return Markup("").join(pieces)
