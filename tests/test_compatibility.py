import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from recbole_hill.host.compatibility import (
    BROKEN,
    CLASHES,
    NOTE,
    at_least,
    before,
    numpy_aliases,
    release,
)

HEALTHY = {
    "python": "3.11.7",
    "recbole": "1.2.0",
    "torch": "2.13.0+cpu",
    "numpy": "2.4.6",
    "scipy": "1.17.1",
    "pandas": "2.3.3",
    "ray": "2.60.0",
    "setuptools": "84.2.1",
}
OLD = {
    "recbole": "1.2.1",
    "torch": "2.2.2",
    "numpy": "1.26.4",
    "scipy": "1.12.0",
    "ray": "2.6.3",
    "setuptools": "81.0.0",
}

#: What is changed in a set of versions, and the clashes that then appear or are gone.
CASES = [
    ({}, {"numpy 2 lacks", "SciPy 1.13", "torch 2.6 and newer"}),
    (OLD, set()),
    ({**OLD, "setuptools": "82.0.0"}, {"Ray up to 2.6.3"}),
    ({**OLD, "numpy": "2.0.0"}, {"Ray Tune up to", "torch before 2.3", "numpy 2 lacks"}),
    ({**OLD, "numpy": "2.0.0", "ray": None, "torch": "2.3.0"}, {"numpy 2 lacks"}),
    ({**OLD, "ray": "2.7.0", "setuptools": "82.0.0"}, set()),
    ({**OLD, "torch": "2.0.1"}, {"torch older than 2.1"}),
    ({**OLD, "scipy": "1.13.0rc1"}, {"SciPy 1.13"}),
    ({**OLD, "pandas": "3.0.0"}, {"pandas 3"}),
    ({**OLD, "recbole": "1.1.1"}, {"RecBole outside 1.2"}),
    ({**OLD, "recbole": "1.3.0"}, {"RecBole outside 1.2"}),
    ({**OLD, "recbole": "1.2"}, set()),
    ({**OLD, "python": "3.9.18"}, {"Python older"}),
    ({**OLD, "python": "3.14.0"}, {"Python newer"}),
    ({**OLD, "python": "3.12.1", "setuptools": None}, {"Python 3.12 has no distutils"}),
    ({**OLD, "python": "3.11.7", "setuptools": None}, set()),
]


@pytest.mark.parametrize(("changes", "expected"), CASES)
def test_clashes_are_found_where_they_are_and_nowhere_else(changes, expected):
    versions = {**HEALTHY, **changes}
    found = {clash.name for clash in CLASHES if clash.check(versions.get)}
    unexplained = {name for name in found if not any(name.startswith(e) for e in expected)}
    assert not unexplained
    assert len(found) == len(expected)


def test_every_clash_has_a_case_and_a_cure():
    named = set().union(*(expected for _, expected in CASES))
    for clash in CLASHES:
        assert any(clash.name.startswith(start) for start in named), clash.name
        assert clash.cure
        assert clash.status in (NOTE, BROKEN)


def test_no_clash_where_nothing_is_installed():
    assert not [clash.name for clash in CLASHES if clash.check({"python": "3.11.7"}.get)]


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("2.13.0+cpu", (2, 13, 0)), ("2.0.0rc1", (2, 0, 0)), ("1.2", (1, 2)), ("84", (84,))],
)
def test_release_reads_the_leading_numbers(version, numbers):
    assert release(version) == numbers


def test_release_refuses_what_is_no_version():
    with pytest.raises(ValueError, match="'unknown'"):
        release("unknown")


def test_bounds_compare_numbers_not_letters():
    assert at_least("2.13.0", 2, 6)
    assert not at_least("2.5.1", 2, 6)
    assert before("3.9.18", 3, 10)
    assert not before("3.10.0", 3, 10)
    assert not at_least(None, 0)
    assert not before(None, 99)


def numpy_with(**names) -> ModuleType:
    """A stand-in for numpy that has the scalar types both majors have, and the names given."""
    scalars = {
        name: getattr(np, name)
        for name in ("bool_", "int_", "float64", "complex128", "object_", "str_")
    }
    module = ModuleType("numpy")
    vars(module).update(scalars, **names)
    return module


def test_numpy_2_keeps_its_own_bool_and_long(monkeypatch):
    own_bool, own_long = object(), object()
    numpy = numpy_with(bool=own_bool, long=own_long)
    monkeypatch.setitem(sys.modules, "numpy", numpy)

    assert set(numpy_aliases()) == {"int", "float", "complex", "object", "str", "unicode"}
    assert numpy.bool is own_bool
    assert numpy.long is own_long
    assert numpy.float is np.float64
    assert numpy.int is np.int_
    assert numpy.complex is np.complex128
    assert numpy.object is np.object_
    assert numpy.str is np.str_
    assert numpy.unicode is np.str_


def test_numpy_1_gets_every_alias_without_a_warning(monkeypatch):
    asked = []
    numpy = numpy_with(__getattr__=asked.append)  # numpy 1 warns and raises from there
    monkeypatch.setitem(sys.modules, "numpy", numpy)

    assert {"bool", "long", "float"} <= set(numpy_aliases())
    assert numpy.bool is np.bool_
    assert numpy.long is np.int_
    assert not asked


def test_a_second_call_sets_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", numpy_with())
    assert numpy_aliases()
    assert numpy_aliases() == ()


@pytest.mark.filterwarnings("ignore::SyntaxWarning")  # RecBole's docstrings, from Python 3.12 on
def test_every_numpy_name_that_recbole_reads_is_there():
    numpy_aliases()
    read = {}
    for file in Path(find_spec("recbole").origin).parent.rglob("*.py"):
        for node in _outside_compatibility_settings(ast.parse(file.read_text(encoding="utf-8"))):
            is_numpy = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if is_numpy and node.value.id in ("np", "numpy"):
                read[node.attr] = file
    assert {"float", "long", "bool"} <= set(read)
    assert not {name: file for name, file in read.items() if not hasattr(np, name)}


def _outside_compatibility_settings(node):
    """Walks a syntax tree but for RecBole's own aliasing, which ours replaces."""
    if isinstance(node, ast.FunctionDef) and node.name == "compatibility_settings":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _outside_compatibility_settings(child)


def test_importing_touches_no_library():
    code = (
        "import sys, recbole_hill.host.compatibility, recbole_hill.host.doctor;"
        "print(sorted({'numpy', 'torch', 'recbole', 'faiss', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
