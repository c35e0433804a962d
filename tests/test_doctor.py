import io
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_hill.host import doctor
from recbole_hill.host.compatibility import BROKEN, NOTE, OK
from recbole_hill.host.doctor import Finding, report

TESTED = {
    "python": "3.11.7",
    "torch": "2.13.0",
    "cuda": "13.0",
    "recbole": "1.2.0",
    "numpy": "2.4.6",
    "scipy": "1.17.1",
    "pandas": "2.3.3",
    "faiss": "1.15.1",
    "safetensors": "0.8.0",
    "kmeans-pytorch": "0.3",
    "ray": "2.60.0",
    "setuptools": "84.2.1",
}


def examine(changes=None, errors=None) -> list[Finding]:
    """The report on the tested versions, with changes (None: not installed)."""
    versions = {**TESTED, **(changes or {})}
    gone = {name for name, version in versions.items() if version is None}
    modules = {c.module: c.name for c in doctor.COMPONENTS if c.module}

    def error_of(module):
        if modules[module] in gone:
            return f"ModuleNotFoundError: No module named {module!r}"
        return (errors or {}).get(module)

    return report(versions.get, error_of)


def rows(findings, component) -> list[Finding]:
    return [finding for finding in findings if finding.component == component]


def test_the_tested_set_has_notes_but_nothing_broken():
    findings = examine()
    assert {f.component for f in findings} == set(TESTED)
    assert {f.component: f.version for f in findings} == TESTED
    assert {f.component for f in findings if f.status == NOTE} == {"torch", "numpy", "scipy"}
    assert not [f for f in findings if f.status == BROKEN]
    assert all(bool(f.cure) == (f.status != OK) for f in findings)


@pytest.mark.parametrize(
    ("component", "cure"),
    [
        ("torch", "pip install torch"),
        ("recbole", "pip install 'recbole>=1.2.0,<1.3'"),
        ("numpy", "pip install numpy"),
        ("scipy", "pip install scipy"),
        ("pandas", "pip install 'pandas<3'"),
        ("faiss", "pip install faiss-cpu"),
        ("safetensors", "pip install safetensors"),
    ],
)
def test_what_the_main_job_needs_is_broken_when_missing(component, cure):
    (row,) = rows(examine({component: None}), component)
    assert row.version is None
    assert row.status == BROKEN
    assert cure in row.cure


@pytest.mark.parametrize(
    ("component", "text"),
    [
        ("ray", "the extra `tune`: pip install -c constraints.txt -e '.[tune]'"),
        ("kmeans-pytorch", "pip install kmeans-pytorch"),
        ("cuda", "use the CPU"),
        ("setuptools", "only building"),
    ],
)
def test_what_it_can_do_without_is_a_note_when_missing(component, text):
    findings = examine({component: None})
    (row,) = rows(findings, component)
    assert row.status == NOTE
    assert text in row.cure
    assert not [f for f in findings if f.status == BROKEN]


def test_a_clash_is_broken_with_its_cure():
    (row,) = rows(examine({"pandas": "3.1.1"}), "pandas")
    assert row == Finding("pandas", "3.1.1", BROKEN, row.cure)
    assert "pip install 'pandas<3'" in row.cure


def test_each_clash_of_a_component_has_a_row():
    findings = rows(examine({"ray": "2.6.3"}), "ray")
    assert [f.status for f in findings] == [NOTE, NOTE]
    assert "setuptools<82" in findings[0].cure
    assert "numpy<2" in findings[1].cure


def test_an_installed_library_that_fails_at_import_is_broken():
    error = "OSError: libgomp.so.1: cannot open shared object file"
    (row,) = rows(examine(errors={"faiss": error}), "faiss")
    assert row.version == "1.15.1"
    assert row.status == BROKEN
    assert "libgomp.so.1" in row.cure


def test_a_library_without_metadata_counts_if_it_imports():
    findings = report({**TESTED, "faiss": None}.get, lambda module: None)
    assert rows(findings, "faiss") == [Finding("faiss", None, OK, "")]


def test_import_error_reports_anything_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("raise AttributeError('no\\nbool8')")
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor.import_error("broken_library") == "AttributeError: no"
    assert doctor.import_error("json") is None


def test_installed_version_tries_the_other_names_of_faiss(monkeypatch):
    def version(distribution):
        if distribution == "faiss-gpu-cu12":
            return "1.8.0"
        raise doctor.PackageNotFoundError(distribution)

    monkeypatch.setattr(doctor, "version", version)
    assert doctor.installed_version("faiss") == "1.8.0"
    assert doctor.installed_version("recbole") is None
    assert doctor.installed_version("python") == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize(
    ("changes", "status", "verdict"),
    [
        ({}, 0, "the main job can run"),
        ({"ray": None}, 0, "the main job can run"),
        ({"faiss": None, "pandas": "3.0"}, 1, "the main job cannot run: mend faiss, pandas"),
    ],
)
def test_run_writes_the_report_and_returns_the_status(changes, status, verdict, monkeypatch):
    findings = examine(changes)
    monkeypatch.setattr(doctor, "report", lambda: findings)
    stream = io.StringIO()
    assert doctor.run(stream) == status
    lines = stream.getvalue().splitlines()
    assert lines[-1] == verdict
    for finding in findings:
        assert any(line.split()[:2] == [finding.status, finding.component] for line in lines)
        assert finding.cure in stream.getvalue()


def test_here_the_main_job_can_run_without_importing_ray():
    code = (
        "import sys; from recbole_hill.host import doctor; status = doctor.run(sys.stdout);"
        "sys.exit('ray was imported' if 'ray' in sys.modules else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the main job can run" in done.stdout
    for component in TESTED:
        assert component in done.stdout


def test_the_command_speaks_where_no_library_is_installed():
    code = (
        f"import sys; sys.path.insert(0, {str(Path(doctor.__file__).parents[2])!r});"
        "from recbole_hill.cli import main; sys.exit(main(['doctor']))"
    )
    # -S: without site-packages; -I: without PYTHONPATH and the current folder.
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    needed = "faiss, numpy, pandas, recbole, safetensors, scipy, torch"
    assert done.stdout.endswith(f"the main job cannot run: mend {needed}\n"), done.stderr
    assert "pip install faiss-cpu" in done.stdout
    assert done.returncode == 1
