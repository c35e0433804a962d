"""MkDocs' hooks: the pages that are made from code and files, and the check of the built site.

A page comes from one place. README.md, SECURITY.md, CONTRIBUTING.md and results/ are pages as they
are; commands and models are written from the parsers, the catalogue and properties/.
"""

from pathlib import Path

import commands
import models
import notebooks
from links import PAGES, in_site
from markup import LOADS, NO_TAG
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]


def on_files(files, config):
    """Adds the pages that do not lie in docs/, and puts them into the navigation."""
    written = {**commands.pages(), **models.pages(), **notebooks.pages()}
    copied = {
        path.relative_to(ROOT).as_posix(): path
        for folder in ("results", "properties")
        for path in sorted((ROOT / folder).rglob("*.*"))
    }
    for uri, text in written.items():
        files.append(File.generated(config, uri, content=text))
    for uri, path in {**copied, **{PAGES[name]: ROOT / name for name in PAGES}}.items():
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    made = [uri for uri in [*written, *copied] if uri.endswith(".md")]
    config.nav = _filled(
        config.nav, sorted(made, key=lambda uri: (not _is_index(uri), uri.lower()))
    )
    return files


def on_page_markdown(markdown, page, **_):
    """Turns links between files of the checkout, which work on its host, into links of the site."""
    return in_site(markdown, page.file.src_uri) if page.file.abs_src_path else markdown


def on_page_content(html, **_):
    """Shows what looks like a tag and is none, as in <user, node>."""
    return NO_TAG.sub("&lt;", html)


def on_post_build(config):
    """Refuses a site that loads anything from another host."""
    for file in Path(config.site_dir).rglob("*"):
        if file.suffix in (".html", ".css"):
            found = LOADS.search(file.read_text(encoding="utf-8"))
            if found:
                raise PluginError(f"{file} loads a foreign resource: {found[0]}")


def _filled(nav, made: list[str]):
    """Returns the navigation with the made pages in place of each ``folder/``."""
    if isinstance(nav, dict):
        return {title: _filled(part, made) for title, part in nav.items()}
    if isinstance(nav, str):
        return nav
    filled = []
    for part in nav:
        if isinstance(part, str) and part.endswith("/"):
            filled += [uri for uri in made if uri.startswith(part)]
        else:
            filled.append(_filled(part, made))
    return filled


def _is_index(uri: str) -> bool:
    return uri.count("/") == 1 and uri.endswith(("index.md", "README.md"))
