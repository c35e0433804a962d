"""The documentation: its command lines parse, its examples run, its made pages hold the facts."""

import json
import posixpath
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import tiny_settings

from recbole_hill import plugins
from recbole_hill.cli import COMMANDS, main
from recbole_hill.config.config import HillConfig
from recbole_hill.experiments.study.paper_table import PaperTable
from recbole_hill.pipeline import run

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = ("run_recbole_hill.py", "recbole-hill")


def command_lines(page: Path) -> list[list[str]]:
    """Returns the arguments of each of our commands in the shell blocks of a page."""
    lines = []
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.replace("$seed", "1"), comments=True)
            at = next((i for i, word in enumerate(words) if word in PROGRAMS), None)
            if at is not None:
                lines.append(words[at + 1 :])
    return lines


@pytest.fixture
def examples(tmp_path, monkeypatch) -> Path:
    """The files of the page on plugins, in the working folder."""
    page = (ROOT / "docs" / "howto" / "plugins.md").read_text(encoding="utf-8")
    for name, text in re.findall(r'```\w+ title="(.+?)"\n(.*?)```', page, re.S):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def parsed(monkeypatch) -> list:
    """Collects the parsed arguments of commands, which are not run."""
    seen = []
    for command in COMMANDS:
        monkeypatch.setattr(command, "run", seen.append)
    return seen


def require_known(words: list[str], arguments) -> None:
    """Raises if a model, a setting of it, or a row of a table does not exist."""
    settings = dict(arguments.overrides)
    given = dict(word[2:].split("=", 1) for word in words if "=" in word)
    if "protocol" in given:
        settings["protocol"] = given["protocol"]
    if words[0] == "table":
        names = given["models"].split(",") if "models" in given else None
        models = {row.model for row in PaperTable.read(words[1]).chosen(names)}
    else:
        models = {given["model"]} if "model" in given else set()
    for model in models if settings or words[0] != "table" else ():
        for dataset in given.get("dataset", "ml-100k").split(","):
            HillConfig(model, dataset, config_dict=settings)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_command_lines_parse(page, examples, parsed, capsys):
    lines = command_lines(page)
    for number, words in enumerate(lines, start=1):
        assert main(words) == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"
        assert len(parsed) == number
        require_known(words, parsed[-1])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--model=HILL --dataset=ml-100k --ttt_epoch=5", "ttt_epoch"),
        ("--model=BPRR --dataset=ml-100k", "BPRR"),
        ("table 3 --models=BPRR", "BPRR"),
        ("table 3 --models=BPR --n_negative=5", "n_negative"),
    ],
)
def test_a_stale_command_line_is_found(line, message, parsed):
    assert main(line.split()) == 0
    with pytest.raises(ValueError, match=message):
        require_known(line.split(), parsed[-1])


def test_command_lines_are_read(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\na && .venv/bin/python run_recbole_hill.py --x=1  # one\n"
        'recbole-hill table 3 \\\n  --models="A B"\n```\n`run_recbole_hill.py no`\n'
    )
    assert command_lines(page) == [["--x=1"], ["table", "3", "--models=A B"]]


def test_the_examples_of_plugins_run_together(examples, tiny_path):
    for name in ("my_model.py", "my_learner.py", "my_selector.py"):
        plugins.load(name)
    parts = {"backbone": "MyModel", "index_learning": "by_norm", "pair_selector": "touched"}
    settings = tiny_settings(tiny_path, "HILL", adapt_control=[], item_scale=0.5, **parts)
    settings.pop("ssl_warmup_epochs")
    result = run("HILL", "tiny", overrides={**settings, "checkpoint_dir": str(examples / "saved")})
    assert {row["arm"] for row in result.rows} >= {"backbone", "pairs", "HILL"}
    assert result.stages["pairs"]["per_depth"][1] > 0


def written(page: Path) -> str:
    """Returns the Markdown of a page or of a notebook's cells, without its blocks of code."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def test_every_link_of_the_clone_leads_to_a_file_that_git_tracks():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no clone of git")
    files = set(listed.stdout.splitlines())
    tracked = files | {parent.as_posix() for file in files for parent in Path(file).parents}
    followed, dead = 0, []
    for page in sorted(file for file in files if file.endswith((".md", ".ipynb"))):
        for address in re.findall(r"\]\(([^\s()#:]+)(?:#[^\s()]*)?\)", written(ROOT / page)):
            followed += 1
            if posixpath.normpath(posixpath.join(posixpath.dirname(page), address)) not in tracked:
                dead.append(f"{page}: {address}")
    assert followed > 50 and not dead


@pytest.mark.parametrize(
    ("page", "link", "on_the_site"),
    [
        ("index.md", "docs/howto/ray.md#a", "howto/ray.md#a"),
        ("index.md", "SECURITY.md", "trust.md"),
        ("index.md", "results/README.md", "results/README.md"),
        ("contributing.md", "README.md", "index.md"),
        ("howto/serving.md", "../../SECURITY.md", "../trust.md"),
        ("howto/serving.md", "../../results/ml-100k/forms.md", "../results/ml-100k/forms.md"),
        ("howto/runs.md", "../../properties/model", "../models/index.md"),
        ("howto/runs.md", "../../properties/overall.yaml", "../commands/settings.md"),
        ("concepts/pairs.md", "../../properties/model/HILL.yaml", "../models/HILL.md"),
        ("concepts/pairs.md", "tree.md", "tree.md"),
        ("results/beyond.md", "../docs/findings.md", "../findings.md"),
        ("results/beyond.md", "../properties/table/beyond.yaml", "../properties/table/beyond.yaml"),
        ("start.md", "https://example.org/docs/a.md", "https://example.org/docs/a.md"),
        ("start.md", "#section", "#section"),
    ],
)
def test_a_link_to_a_file_leads_to_its_page_on_the_site(build, page, link, on_the_site):
    from links import in_site

    assert in_site(f"a [b]({link}) c", page) == f"a [b]({on_the_site}) c"


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.fixture
def build(monkeypatch):
    """Makes the modules of docs/_build importable."""
    monkeypatch.syspath_prepend(ROOT / "docs" / "_build")
    yield
    for name in ("commands", "models", "notebooks", "measured", "docstrings", "markup", "links"):
        sys.modules.pop(name, None)


def test_a_models_page_holds_its_settings_and_results(build):
    import models

    pages = models.pages()
    page = pages["models/BPR.md"]
    assert "| `n_negatives` | int | `300` | Negatives per positive. |" in page
    assert "| `lr_least` | float | `1.0e-6` | Lower bound of the learning rate. |" in page
    (gowalla,) = [line for line in page.splitlines() if "gowalla/baselines-published" in line]
    cells = [cell.strip() for cell in gowalla.split("|")]
    assert cells[2:9] == ["published", "BPR", "1", "0.1615", "0.1365", "0.1627", "0.1378"]
    (seeds,) = [line for line in page.splitlines() if "[ml-100k/table3-seeds]" in line]
    assert "| 3 | 0.3863 ± 0.0008 | 0.3351 ± 0.0028 |" in seeds
    assert "| `lr_least` | float | `0.0` | Lower bound" in pages["commands/settings.md"]


def test_every_command_has_a_page_with_its_options(build):
    import commands

    pages = commands.pages()
    assert len(pages) == len(COMMANDS) + 1
    assert "| `--source=" in pages["commands/prepare.md"]
    assert "| `--k=K` | items per user (default: 10). |" in pages["commands/recommend.md"]
    assert "`--help`" not in pages["commands/recommend.md"]


def test_a_notebooks_page_has_its_text_code_outputs_and_pictures(build, monkeypatch, tmp_path):
    import notebooks

    table = '<style scoped>\n a {}\n</style>\n<table class="dataframe">\n\n  '
    table += "<tr><td>7</td></tr>\n</table>"
    cells = [
        {"cell_type": "markdown", "source": ["# One\n", "[two](two.ipynb)"]},
        {
            "cell_type": "code",
            "source": "draw()",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["a\n", "b\n"]},
                {"output_type": "display_data", "data": {"image/png": "YWJj", "text/plain": "F"}},
                {"output_type": "execute_result", "data": {"text/plain": "7"}},
                {"output_type": "execute_result", "data": {"text/html": table, "text/plain": "7"}},
            ],
        },
    ]
    (tmp_path / "one.ipynb").write_text(json.dumps({"cells": cells}))
    monkeypatch.setattr(notebooks, "FOLDER", tmp_path)
    monkeypatch.setattr(notebooks, "NAMES", ("one",))
    assert notebooks.pages() == {
        "notebooks/one.md": "# One\n[two](two.md)\n\n"
        "```python\ndraw()\n```\n\n```text\na\nb\n```\n\n"
        "![Picture of the cell above](one-1.png)\n\n```text\n7\n```\n\n"
        '<div><table class="dataframe"><tr><td>7</td></tr></table></div>\n\n'
        "[This page as a notebook](one.ipynb)\n",
        "notebooks/one-1.png": b"abc",
    }


def test_every_notebook_is_shown_and_small(build):
    import notebooks

    assert {file.stem for file in notebooks.FOLDER.glob("*.ipynb")} == set(notebooks.NAMES)
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for name, page in notebooks.pages().items():
        if isinstance(page, bytes):
            assert len(page) < 60_000
        else:
            assert f"- {name}\n" in nav
            assert "/tmp/" not in page and "Warning" not in page


@pytest.mark.parametrize(
    ("html", "loads"),
    [
        ('<script defer src="https://example.org/a.js">', True),
        ("<img src=//example.org/a.png>", True),
        ('<link rel="stylesheet" href="https://example.org/a.css">', True),
        ("@font-face { src: url(https://example.org/a.woff2) }", True),
        ('<link rel="canonical" href="https://example.org/page">', False),
        ('<a href="https://example.org">a link</a> <img src="../a.svg">', False),
    ],
)
def test_what_loads_from_another_host_is_found(build, html, loads):
    from markup import LOADS

    assert bool(LOADS.search(html)) is loads


def test_what_is_no_tag_is_shown(build):
    from docstrings import plain
    from markup import NO_TAG

    html = "<p>the <user, node> pairs <z_u|i, v> <user at depth j> of <code>x</code><br/></p>"
    shown = "<p>the &lt;user, node> pairs &lt;z_u|i, v> &lt;user at depth j> of "
    assert NO_TAG.sub("&lt;", html) == shown + "<code>x</code><br/></p>"
    text = "See :class:`~recbole_hill.adapt.pairs.Pairs` and ``k``::\n\n    code"
    assert plain(text) == "See `recbole_hill.adapt.pairs.Pairs` and `k`:\n\n    code"
