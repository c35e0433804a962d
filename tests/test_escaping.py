"""A study whose every text is an attack, in every format: it is shown, and it does nothing."""

import ast
import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest
from studies import cell, failed, made, write_study
from test_architecture import modules

from recbole_hill.cli import main
from recbole_hill.report import cells as module
from recbole_hill.report.delimited import csv_table
from recbole_hill.report.document import Line, Table
from recbole_hill.report.latex import latex
from recbole_hill.report.markdown import escape as markdown_escape
from recbole_hill.report.markdown import markdown, pipe_table
from recbole_hill.report.tables import arms_table
from recbole_hill.report.write import write_report
from recbole_hill.run.text import printable, spreadsheet_cell

#: Breaks out of an element and of an attribute, a formula, a command, a table's cell and a line.
PAYLOAD = (
    "=1+1\"'><script>alert(1)</script><img src=x onerror=alert(1)>\\input{/etc/passwd}\\\\ } $ & #"
    "\\| a | b \x1b[2J\r\n| c | `d` **e** [f](javascript:x)\n# g"
)
DEFINITION = {
    "title": PAYLOAD,
    "kind": "comparison",
    "metrics": [PAYLOAD, "ndcg@20"],
    "rows": {PAYLOAD: {PAYLOAD: [0.1, 0.05], "note": "old"}, "Failed": {}},
    "beyond": {"EASE": {PAYLOAD: [0.2, 0.1], "source": PAYLOAD}},
    "notes": {"old": PAYLOAD},
}
#: The elements of our pages.
OURS = set(
    re.findall(
        r"\w+",
        "html head meta title style body main section nav a h1 h2 h3 p span dl dt dd code table "
        "thead tbody tr th td button sup div ul li strong figure svg path line rect text details "
        "summary script pre",
    )
)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "definition_of", lambda _: DEFINITION)
    text = {
        key: PAYLOAD
        for key in ("model", "dataset", "data_sha256", "protocol", "commit", "device", "command")
    }
    text |= {"versions": {PAYLOAD: PAYLOAD}}
    rows = []
    for arm, value in ((PAYLOAD, 0.3), ("backbone " + PAYLOAD, 0.2)):
        row = {**made("HILL", value), **text, "arm": arm}
        rows.append({**row, "metrics": {PAYLOAD: value, "ndcg@20": value / 2}})
    cells = [
        {**cell("x", rows, row=PAYLOAD, given={"key": PAYLOAD})},
        {**cell("EASE", [{**rows[0], "arm": PAYLOAD}]), "row": "EASE"},
        failed("Failed", 1, PAYLOAD),
    ]
    folder = write_study(tmp_path / "study", cells, seeds=(1,))
    about = folder / "study.json"
    described = json.loads(about.read_text())
    described |= {"dataset": PAYLOAD, "command": PAYLOAD, "protocol": PAYLOAD}
    about.write_text(json.dumps(described))
    return folder


class Elements(HTMLParser):
    """Collects the elements, the attributes and the scripts of a page."""

    def __init__(self):
        super().__init__()
        self.names, self.attributes, self.scripts, self._open = set(), set(), [], None

    def handle_starttag(self, tag, attributes):
        self.names.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self._open = tag

    def handle_data(self, data):
        if self._open == "script":
            self.scripts.append(data)
        self._open = None


def balanced(text: str) -> bool:
    depth = 0
    for character in re.sub(r"\\.", "", text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0, text
    return depth == 0


def test_no_text_of_a_study_is_markup_in_any_format(study):
    files = write_report(study)
    page = Elements()
    page.feed(files["html"].read_text(encoding="utf-8"))
    assert page.names <= OURS and "td" in page.names and "img" not in page.names
    assert not {name for name in page.attributes if name.startswith("on") or name == "src"}
    assert len(page.scripts) == 1 and "alert" not in page.scripts[0]

    tex = files["latex"].read_text(encoding="utf-8")
    assert balanced(tex) and r"\input" not in tex and r"\textbackslash{}input\{" in tex
    label = re.search(r"\\label\{(.*?)\}", tex)[1]
    assert re.fullmatch(r"tab:[A-Za-z0-9:.-]+", label)
    table = tex[tex.index(r"\toprule") : tex.index(r"\bottomrule")]
    lines = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + 4
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {8 - 1}

    records = list(csv.DictReader(io.StringIO(files["csv"].read_text(encoding="utf-8"))))
    # Universal newlines are Python's own when a file is read as text; the text is all there.
    assert records[0]["row"] == "'" + PAYLOAD.replace("\r\n", "\n")
    assert float(records[0]["mean"]) == 0.3
    assert all(not v.startswith(("=", "+", "@", "\t", "\r")) for r in records for v in r.values())

    shown = files["markdown"].read_text(encoding="utf-8")
    outside_code = re.sub(r"(?<!\\)`[^`\n]*`", "", shown)
    assert "\x1b" not in shown and "<script" not in outside_code and "<img" not in outside_code
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4  # head, rule, the row, its arm, EASE, the failed one
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows} == {8 + 1}
    assert not [line for line in shown.splitlines()[1:] if line.startswith("#")]
    assert not re.search(r"(?<!\\)\]\(", outside_code)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-5", "-5"),
        ("+0.25", "+0.25"),
        ("\t5", "'\t5"),
        (-5.0, -5.0),
        (None, None),
        ("a=b", "a=b"),
    ],
)
def test_a_text_that_begins_a_formula_is_guarded_and_a_number_is_not(value, written):
    assert spreadsheet_cell(value) == written


def test_markdown_by_hand():
    assert markdown_escape("a|b\\|c\\") == "a\\|b\\\\\\|c\\\\"
    assert markdown_escape("`x` *y* 2 * 3 a_b _z_") == "\\`x\\` \\*y\\* 2 * 3 a_b \\_z\\_"
    assert markdown_escape("<b>&lt; A & B [1] [t](u)") == "&lt;b>&amp;lt; A & B [1] [t\\](u)"
    assert pipe_table(["a"], [["x\n| y"]]).splitlines() == ["| a |", "|---|", "| x\\n\\| y |"]


def test_a_note_with_data_is_one_line_of_the_list():
    table = Table("t", "model", (), (Line("one", ()),), notes=("a\n- b `c\n|d` **<e>**",))
    assert markdown(table).splitlines()[-1] == "- a\\n- b `c\\n|d` **&lt;e>**"
    assert csv_table(table).count("\n") == 1
    assert r"\textbf{\textless{}e\textgreater{}}" in latex(table)


def test_control_characters_do_not_reach_a_terminal(capsys, tmp_path):
    assert printable("a\x1b[31m\nb\u202e\x9b") == "a\\x1b[31m\\nb\\u202e\\x9b"
    assert printable("Zoë 日本 🙂") == "Zoë 日本 🙂"
    row = {**made("BPR", 0.1), "arm": "x\x1b[2Jy\n", "device": "\x07bell"}
    row |= {"stages": {"back\x1bbone": {"seconds": 1.0}}}
    text = arms_table([row])
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text) and "x\\x1b[2Jy\\n" in text
    assert main(["report", str(tmp_path / "a\x1b[2J\nb")]) == 1
    assert "\x1b" not in capsys.readouterr().err


def test_html_is_written_by_literal_templates_alone():
    """No text from a file can become a template, nor be declared to be HTML."""
    for name, file in modules().items():
        if not name.startswith("report.page"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("html", "Markup"):
                template = node.args[0]
                literal = isinstance(template, ast.Constant) or name.endswith(".html")
                kinds = {"_SPANS[kind]"}  # the three templates of a note's parts
                assert literal or ast.unparse(template) in kinds, (name, node.lineno)
