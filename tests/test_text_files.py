"""Files are read and written alike under every locale, and their names have one place."""

import ast
import os
import subprocess
import sys

from test_architecture import ROOT, modules

from recbole_hill.data.ids import IDS
from recbole_hill.run import folder as runs
from recbole_hill.run.text import as_utf8

#: Calls that read or write text, unless they name an encoding or a binary mode.
TEXT_CALLS = {"open", "read_text", "write_text", "FileHandler", "NamedTemporaryFile"}
OWNED = {
    runs.CONFIG,
    runs.ROWS,
    runs.METRICS,
    runs.STAGES,
    runs.LOG,
    runs.BACKBONE,
    runs.INDEX,
    IDS,
}


def _is_text(call: ast.Call) -> bool:
    function = call.func
    name = getattr(function, "attr", getattr(function, "id", ""))
    if name not in TEXT_CALLS or any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    if ast.unparse(function) == "os.open":
        return False
    modes = [*call.args, *(k.value for k in call.keywords if k.arg == "mode")]
    return not any(isinstance(m, ast.Constant) and "b" in str(m.value) for m in modes[:2])


def test_every_text_file_names_its_encoding():
    nameless = [
        f"{file}:{node.lineno}"
        for file in modules().values()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _is_text(node)
    ]
    assert not nameless


def test_a_runs_files_are_named_in_one_place():
    repeated = [
        f"{file}:{node.lineno} {node.value}"
        for name, file in modules().items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in OWNED
        if name not in ("run.folder", "data.ids")
    ]
    assert not repeated


def test_every_character_is_printed_in_a_locale_of_ascii(tmp_path):
    script = (
        "import sys; from recbole_hill.run.text import print_every_character;"
        "print_every_character(); print('Zo\\xeb \\xb1 \\u2013'); print('\\u65e5', file=sys.stderr)"
    )
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for environment in (ascii_only, {"PYTHONIOENCODING": "ascii:strict"}):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **environment},
            cwd=ROOT.parent,
            capture_output=True,
            check=True,
        )
        assert done.stdout.strip() == b"Zo\\xeb \\xb1 \\u2013"
        assert done.stderr.strip() == b"\\u65e5"


def test_an_argument_is_utf8_in_every_locale():
    assert as_utf8("Zo\udcc3\udcab") == "Zoë"  # how Python hands on bytes that are not ASCII
    assert as_utf8("Zoë") == "Zoë" and as_utf8("a\udcff") == "a\udcff"
