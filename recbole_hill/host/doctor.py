"""Checks an environment: installed versions, known clashes, and the cure for each.

Only the standard library is imported before the checks begin, so that the doctor also runs if torch
or RecBole cannot be imported.
"""

import importlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple, TextIO

import recbole_hill
from recbole_hill.host.compatibility import BROKEN, CLASHES, NOTE, OK, VersionOf
from recbole_hill.host.optional import named


@dataclass(frozen=True)
class Component:
    """A library or device that a run uses.

    Attributes:
        name: Name in the report.
        missing: Message if it is missing: what is missing, and how to get it.
        needed: Whether the main job needs it.
        distributions: Names under which it can be installed; its own name if empty.
        module: A module whose import proves that it works; None to trust its metadata.
    """

    name: str
    missing: str
    needed: bool = True
    distributions: tuple[str, ...] = ()
    module: str | None = None


class Finding(NamedTuple):
    """One row of the report; status is ``ok``, ``note`` or ``broken``; cure is empty if ok."""

    component: str
    version: str | None
    status: str
    cure: str


COMPONENTS = (
    Component("python", "use Python 3.10 to 3.13"),
    Component(
        "torch",
        "not installed: pip install torch; where no build fits, use 64-bit CPython 3.10 to 3.13",
        module="torch",
    ),
    Component("cuda", "no device that torch can use: runs use the CPU, enough for ml-100k", False),
    Component(
        "recbole", "not installed: pip install 'recbole>=1.2.0,<1.3'", module="recbole.trainer"
    ),
    Component("numpy", "not installed: pip install numpy", module="numpy"),
    Component("scipy", "not installed: pip install scipy", module="scipy.sparse"),
    Component("pandas", "not installed: pip install 'pandas<3'", module="pandas"),
    Component(
        "faiss",
        "not installed: pip install faiss-cpu",
        distributions=("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11", "faiss"),
        module="faiss",
    ),
    Component("safetensors", "not installed: pip install safetensors", module="safetensors.torch"),
    Component(
        "kmeans-pytorch",
        "not installed, and RecBole 1.2.0 imports it with BPR, LightGCN and its other general "
        "models: pip install kmeans-pytorch",
        needed=False,
        module="kmeans_pytorch",
    ),
    Component(
        "ray",
        f"not installed; only sweeps and RecBole's quick_start need it: {named('tune')}",
        needed=False,
    ),
    Component("setuptools", "not installed; only building and old Ray need it", needed=False),
)


def run(stream: TextIO) -> int:
    """Writes the report on this environment.

    Args:
        stream: Stream for the text.

    Returns:
        The exit status: 1 if the main job cannot run here, or its numbers cannot be trusted.
    """
    findings = report()
    stream.write(
        f"recbole_hill {recbole_hill.__version__} on {platform.system()} {platform.machine()}\n\n"
    )
    for finding in findings:
        line = f"{finding.status:6}  {finding.component:14}  {finding.version or '-'}\n"
        stream.write(line + (f"        {finding.cure}\n" if finding.cure else ""))
    broken = sorted({finding.component for finding in findings if finding.status == BROKEN})
    verdict = f"cannot run: mend {', '.join(broken)}" if broken else "can run"
    stream.write(f"\nthe main job {verdict}\n")
    return 1 if broken else 0


def installed_version(name: str) -> str | None:
    """Returns the version of a component of `COMPONENTS`, or None if it is not installed.

    The version of ``cuda`` is the version for which torch was built, if a device can be used.
    """
    if name == "python":
        return platform.python_version()
    if name == "cuda":
        return _usable_cuda()
    known = {component.name: component.distributions for component in COMPONENTS}
    for distribution in known.get(name) or (name,):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def import_error(module: str) -> str | None:
    """Imports a module, and returns the error in one line, or None if the import works."""
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken installation raises anything, AttributeError included
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def report(
    version_of: VersionOf = installed_version,
    error_of: Callable[[str], str | None] = import_error,
) -> list[Finding]:
    """Examines every component.

    Args:
        version_of: Returns the installed version of a component, or None.
        error_of: Returns the error of importing a module, or None.

    Returns:
        One row for each component without a problem, and one row for each problem: missing, failing
        at import, clashing.
    """
    findings = []
    for component in COMPONENTS:
        installed = version_of(component.name)
        problems = list(_problems(component, installed, version_of, error_of))
        findings += [Finding(component.name, installed, *p) for p in problems or [(OK, "")]]
    return findings


def _problems(component, installed, version_of, error_of):
    """Yields (status, cure) for each problem of a component."""
    severity = BROKEN if component.needed else NOTE
    error = error_of(component.module) if component.module else None
    if installed is None and (error or not component.module):
        yield severity, component.missing
    elif error:
        yield severity, f"cannot be imported ({error}); install what it names, or reinstall it"
    for clash in CLASHES:
        if clash.component == component.name and clash.check(version_of):
            yield clash.status, f"{clash.name}; {clash.cure}"


def _usable_cuda() -> str | None:
    try:
        import torch

        return torch.version.cuda if torch.cuda.is_available() else None
    except Exception:  # torch's own row says what is wrong with it
        return None
