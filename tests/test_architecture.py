"""The structure of the package: what may import what, lazy imports counted."""

import ast
import importlib.util
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import recbole_hill

ROOT = Path(recbole_hill.__file__).parent
#: Modules at the root and folders, from the bottom up: each imports only what stands before it.
ORDER = (
    "",  # recbole_hill itself
    "checks",
    "host",
    "catalogue",
    "registry",
    "plugins",
    "config",
    "run",
    "data",
    "index",
    "retrieval",
    "evaluation",
    "model",
    "train",
    "adapt",
    "labelled",
    "pipeline",
    "serve",
    "report",
    "experiments",
    "integration",
    "commands",
    "api",
    "cli",
    "__main__",
)
#: The one import that goes up: `recbole_hill.register()`, which a user calls.
UPWARD = {("", "integration")}


def modules() -> dict[str, Path]:
    """Returns every module of the package by its dotted name within it."""
    found = {}
    for file in ROOT.rglob("*.py"):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix("__init__").rstrip(".")] = file
    return found


@cache
def imports() -> dict[str, set[str]]:
    """Returns, for every module, the package's modules that it imports anywhere in its code."""
    known, graph = modules(), {}
    for name, file in known.items():
        graph[name] = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named = [(alias.name, None) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{file} imports relatively"
                named = [(node.module, alias.name) for alias in node.names]
            else:
                continue
            for module, attribute in named:
                if module.split(".")[0] != "recbole_hill":
                    continue
                module = module.removeprefix("recbole_hill").lstrip(".")
                inner = f"{module}.{attribute}".lstrip(".")
                graph[name].add(inner if inner in known else module)
    return graph


def unit(module: str) -> str:
    return module.split(".")[0]


def test_no_module_imports_itself_by_way_of_others():
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_nothing_imports_upward():
    place = {name: number for number, name in enumerate(ORDER)}
    assert {unit(module) for module in modules()} == set(ORDER)
    upward = {
        (module, target)
        for module, targets in imports().items()
        for target in targets
        if place[unit(target)] > place[unit(module)]
    }
    assert upward == UPWARD


def test_the_root_has_few_modules():
    names = sorted(file.name for file in ROOT.glob("*.py"))
    assert len(names) <= 10, names


def test_every_module_has_one_name():
    """An editable checkout once made second copies importable, with registries of their own."""
    assert importlib.util.find_spec("recbole_hill.recbole_hill") is None
    assert importlib.util.find_spec("recbole_hill.tests") is None


def test_no_code_asks_for_a_models_name():
    """A model under another name, such as a plugin's subclass, is treated alike."""
    literals = []
    for name, file in modules().items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                literals += [
                    (name, side.value)
                    for side in sides
                    if isinstance(side, ast.Constant) and side.value in ("HILL", "HSNN", "NESCL")
                ]
    assert not literals
