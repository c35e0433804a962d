"""Links between files of the checkout, as links between pages of the site."""

import posixpath
import re

#: Files of the checkout that are pages of the site as they are, under another name.
PAGES = {"README.md": "index.md", "SECURITY.md": "trust.md", "CONTRIBUTING.md": "contributing.md"}
#: A link's address, without its anchor. An address on another host has a colon.
_ADDRESS = re.compile(r"(?<=\]\()[^\s()#:]+(?=[)#])")
#: Files and folders of settings, and the pages that show their contents.
_SETTINGS = {
    "properties/model": "models/index.md",
    "properties/overall.yaml": "commands/settings.md",
}
_OF_A_MODEL = re.compile(r"properties/model/(.+)\.yaml")


def in_site(markdown: str, uri: str) -> str:
    """Returns a page's text, in which each link to a file leads to the page that shows the file.

    Args:
        markdown: The text of a file of the checkout, with links that work in the checkout.
        uri: The address of its page, from the site's root.
    """
    source = _source_of(uri)

    def moved(address: re.Match) -> str:
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), address[0]))
        return posixpath.relpath(_page_of(file), posixpath.dirname(uri) or ".")

    return _ADDRESS.sub(moved, markdown)


def _page_of(file: str) -> str:
    """Returns the address of the page that shows a file of the checkout."""
    if own := _OF_A_MODEL.fullmatch(file):
        return f"models/{own[1]}.md"
    return {**PAGES, **_SETTINGS}.get(file) or file.removeprefix("docs/")


def _source_of(uri: str) -> str:
    """Returns the file of the checkout that a page shows."""
    for file, page in PAGES.items():
        if page == uri:
            return file
    return uri if uri.startswith("results/") else f"docs/{uri}"
