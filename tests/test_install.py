"""Wheel, source archive and editable install, each in a virtual environment of its own."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import recbole_hill

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = sorted(
    file.relative_to(ROOT).as_posix()
    for folder in ("properties", "tuning")
    for file in (ROOT / folder).rglob("*")
    if file.suffix == ".yaml"
)

#: Prints what an installed package finds, from outside the checkout.
LOOK = """
import sys
import recbole_hill
from recbole_hill.config.properties import properties, tuning

print(recbole_hill.__file__)
for shipped in sys.argv[1:]:
    folder, *parts = shipped.split("/")
    ours = {"properties": properties, "tuning": tuning}[folder](*parts)
    print(shipped, len(ours.read_bytes()))
"""


def call(*command, cwd: Path) -> str:
    """Runs a command away from this process's import path and returns what it prints."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of what a release is made from, so that builds leave nothing in the real one."""
    copy = tmp_path_factory.mktemp("clones") / "recbole_hill"  # the name that a clone gets
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("recbole_hill", "properties", "tuning"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for pattern in ("*.py", "*.toml", "*.in", "*.txt", "*.md", "LICENSE"):
        for file in ROOT.glob(pattern):
            shutil.copy(file, copy)
    return copy


@pytest.fixture(scope="module")
def archives(checkout, tmp_path_factory) -> tuple[Path, Path]:
    """The wheel and the source archive it was built from."""
    pytest.importorskip("build", reason="the [test] extra brings it")
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, checkout, cwd=out)
    (wheel,), (archive,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, archive


@pytest.fixture
def environment(tmp_path) -> Path:
    """An empty virtual environment that borrows this one's libraries, installed projects aside."""
    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    # A folder named in a .pth file is searched, but its own .pth files, where the editable
    # install of this checkout may be, are not read.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return tmp_path / "venv" / "bin"


def install(environment: Path, *what) -> None:
    python = environment / "python"
    options = ("--no-deps", "--no-build-isolation", "--ignore-installed", "--quiet")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", *options)
    call(*pip, *what, cwd=environment.parent)


def look(environment: Path, cwd: Path | None = None) -> tuple[Path, dict[str, int]]:
    """Returns where the package was imported from and the size of each file that it found."""
    cwd = cwd or environment.parent
    text = call(environment / "python", "-c", LOOK, *SHIPPED, cwd=cwd)
    origin, *lines = text.splitlines()
    found = (line.rsplit(" ", 1) for line in lines)
    return Path(origin), {name: int(size) for name, size in found}


def test_there_is_something_to_ship():
    assert "properties/overall.yaml" in SHIPPED
    assert "properties/model/HILL.yaml" in SHIPPED
    assert "properties/dataset/ml-100k.yaml" in SHIPPED
    assert "properties/features/ml-100k.yaml" in SHIPPED


def test_wheel_from_the_source_archive_holds_the_package_and_nothing_else(archives):
    wheel, archive = archives
    with zipfile.ZipFile(wheel) as file:
        inside = {name for name in file.namelist() if ".dist-info/" not in name}
    modules = {
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "recbole_hill").rglob("*.py*")
        if p.suffix in (".py", ".pyi")
    }
    shipped = {f"recbole_hill/{name}" for name in [*SHIPPED, "tuning/sweep.py"]}
    assert inside == modules | shipped

    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert modules | {*SHIPPED, "constraints.txt", "run_recbole_hill.py"} <= names


def test_metadata(archives):
    with zipfile.ZipFile(archives[0]) as file:
        name = next(n for n in file.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(file.read(name).decode())
        entry_points = file.read(name.replace("METADATA", "entry_points.txt")).decode()
        (held,) = (n for n in file.namelist() if n.endswith("/LICENSE"))
        assert file.read(held) == (ROOT / "LICENSE").read_bytes()
    assert "MIT" in (metadata["License-Expression"], metadata["License"])
    assert metadata["Name"] == "recbole-hill"
    assert metadata["Version"] == recbole_hill.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    names = ("all", "baselines", "docs", "energy", "mlflow", "notebooks", "plots", "test", "tune")
    names += ("wandb",)
    assert set(metadata.get_all("Provides-Extra")) == set(names)
    assert "recbole-hill = recbole_hill.cli:main" in entry_points

    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist")]
    capped = {r.name for r in requirements if any(s.operator[0] in "<=~" for s in r.specifier)}
    assert capped == {"recbole", "pandas"}
    recbole = next(r for r in requirements if r.name == "recbole").specifier
    assert [v for v in ("1.1.1", "1.2.0", "1.2.1", "1.3.0") if v in recbole] == ["1.2.0", "1.2.1"]

    extras = {
        extra: {r.name for r in requirements if r.marker and r.marker.evaluate({"extra": extra})}
        for extra in names
    }
    assert extras["all"] == extras["docs"] | extras["notebooks"] | extras["test"]
    assert extras["baselines"] | extras["tune"] < extras["test"]
    assert "pyarrow" in {r.name for r in requirements if not r.marker}
    assert "ray" in extras["tune"]

    pins = read_pins(ROOT / "constraints.txt")
    for requirement in requirements:
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert Version(pins[name]) in requirement.specifier, f"constraints.txt: {name}"


def read_pins(file: Path) -> dict[str, str]:
    """Reads a constraints file in which every line pins one version exactly."""
    pins = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, pin = line.split("==")
            pins[re.sub(r"[-_.]+", "-", name).lower()] = pin
    return pins


def test_constraint_files_differ_by_recbole_and_its_old_pins_only():
    new = read_pins(ROOT / "constraints.txt")
    old = read_pins(ROOT / "constraints-recbole-1.2.1.txt")
    changed = {name for name in old.keys() & new.keys() if old[name] != new[name]}
    assert changed == {"recbole", "ray", "numpy", "setuptools"}
    assert (new["recbole"], old["recbole"]) == ("1.2.0", "1.2.1")


def test_wheel_install(archives, environment):
    install(environment, archives[0])
    origin, found = look(environment)
    assert environment.parent in origin.parents
    assert found == {name: (ROOT / name).stat().st_size for name in SHIPPED}
    models = call(environment / "recbole-hill", "models", cwd=environment.parent)
    assert {"HILL", "NESCL", "BPR"} <= {line.split()[0] for line in models.splitlines()}


def test_source_archive_install(archives, environment):
    install(environment, archives[1])
    origin, found = look(environment)
    assert environment.parent in origin.parents
    assert found == {name: (ROOT / name).stat().st_size for name in SHIPPED}


def test_editable_install_reads_the_checkout(checkout, environment):
    install(environment, "--editable", checkout)
    origin, found = look(environment)
    assert origin == checkout / "recbole_hill" / "__init__.py"
    assert found == {name: (ROOT / name).stat().st_size for name in SHIPPED}
    assert look(environment, cwd=checkout.parent) == (origin, found)  # beside the clone's folder
    assert "usage" in call(environment / "recbole-hill", "--help", cwd=environment.parent)


def test_git_carries_everything_that_is_shipped():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(
        ["git", "check-ignore", *SHIPPED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr  # 0: some are ignored


def test_readme_gives_the_command_that_continuous_integration_runs():
    readme = ROOT / "README.md"
    if not readme.is_file():
        pytest.skip("there is no README yet")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (command,) = re.findall(r"^\((python3 -m venv .*)\)$", script, re.MULTILINE)
    assert command in readme.read_text(encoding="utf-8")
