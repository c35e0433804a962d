"""What RecBole 1.2 needs on today's libraries, and the versions that are known to clash.

Importing this module changes nothing, and needs only the standard library, so that ``doctor`` can
run in a broken environment. The fixes are in the modules that need them:

- numpy 2 refuses the aliases that RecBole's ``Config`` sets: `numpy_aliases`, called by our Config.
- SciPy 1.13 removed ``dok_matrix._update``: `recbole_hill.model.patched`.
- torch 2.6 refuses RecBole's pickled checkpoints: `recbole_hill.run.checkpoint` writes others.
- RecBole's module of SINE slows all later training: `without_anomaly_detection`, around each import
  of a model.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

#: Returns a component's version as in its metadata, or None if it is not installed.
VersionOf = Callable[[str], str | None]

OK = "ok"
NOTE = "note"
BROKEN = "broken"

#: The numpy names that RecBole 1.2 reads, each with the scalar type that RecBole expects.
_ALIASES = {
    "bool": "bool_",
    "int": "int_",
    "float": "float64",
    "complex": "complex128",
    "object": "object_",
    "str": "str_",
    "long": "int_",
    "unicode": "str_",
}


def numpy_aliases() -> tuple[str, ...]:
    """Sets the numpy aliases that RecBole 1.2 reads and the installed numpy lacks.

    RecBole's own ``Config.compatibility_settings`` sets them with names such as ``np.float_``,
    which numpy 2 removed. A name that numpy has is not changed: ``np.bool`` and ``np.long`` came
    back in numpy 2 with another meaning.

    Returns:
        The names that were set; empty if called again.
    """
    import numpy

    # vars(), because hasattr() makes numpy 1.20 to 1.26 warn about the aliases.
    missing = tuple(name for name in _ALIASES if name not in vars(numpy))
    for name in missing:
        setattr(numpy, name, getattr(numpy, _ALIASES[name]))
    return missing


@contextmanager
def without_anomaly_detection() -> Iterator[None]:
    """Leaves torch's anomaly detection off, if it was, after a block that imports a model's code.

    RecBole's module of SINE turns it on for the whole process, and every sequential model of
    RecBole's imports that module. It makes training about five times slower.
    """
    enabled = "torch" in sys.modules and sys.modules["torch"].is_anomaly_enabled()
    try:
        yield
    finally:
        if not enabled and "torch" in sys.modules:
            sys.modules["torch"].set_anomaly_enabled(False)


def release(version: str) -> tuple[int, ...]:
    """Returns a version's leading numbers: ``2.13.0+cpu`` is (2, 13, 0), ``2.0.0rc1`` (2, 0, 0).

    Raises:
        ValueError: If the version does not begin with a number.
    """
    numbers = re.match(r"\d+(\.\d+)*", version)
    if numbers is None:
        raise ValueError(f"a version must begin with a number, got {version!r}")
    return tuple(int(number) for number in numbers[0].split("."))


def at_least(version: str | None, *bound: int) -> bool:
    """Returns whether a version is installed and at least a bound: ``at_least("2.13.0", 2, 6)``."""
    return version is not None and release(version) >= bound


def before(version: str | None, *bound: int) -> bool:
    """Returns whether a version is installed and below a bound."""
    return version is not None and release(version) < bound


@dataclass(frozen=True)
class Clash:
    """A combination of versions that is known to fail or to give wrong results.

    Attributes:
        name: The problem in one line.
        component: The component under which ``doctor`` reports the problem.
        status: `BROKEN` if no run can be trusted; `NOTE` if the problem is fixed, or affects only a
            part.
        check: Returns from the versions whether the problem is present.
        cure: How to solve the problem.
    """

    name: str
    component: str
    status: str
    check: Callable[[VersionOf], bool]
    cure: str


CLASHES = (
    Clash(
        "Python older than 3.10",
        "python",
        BROKEN,
        lambda of: before(of("python"), 3, 10),
        "use Python 3.10 to 3.13",
    ),
    Clash(
        "Python newer than any this was tried on",
        "python",
        NOTE,
        lambda of: at_least(of("python"), 3, 14),
        "if something fails, use Python 3.10 to 3.13",
    ),
    Clash(
        "RecBole outside 1.2: other internals than those this package extends",
        "recbole",
        BROKEN,
        lambda of: before(of("recbole"), 1, 2) or at_least(of("recbole"), 1, 3),
        "pip install 'recbole>=1.2.0,<1.3'",
    ),
    Clash(
        "torch older than 2.1",
        "torch",
        BROKEN,
        lambda of: before(of("torch"), 2, 1),
        "pip install 'torch>=2.1'",
    ),
    Clash(
        "torch before 2.3 is built for numpy 1: tensors cannot become arrays",
        "torch",
        BROKEN,
        lambda of: before(of("torch"), 2, 3) and at_least(of("numpy"), 2),
        "pip install 'torch>=2.3', or 'numpy<2'",
    ),
    Clash(
        "torch 2.6 and newer refuse RecBole's own checkpoints (weights_only)",
        "torch",
        NOTE,
        lambda of: at_least(of("torch"), 2, 6),
        "mended: runs of this package save safetensors and plain data",
    ),
    Clash(
        "numpy 2 lacks names that RecBole's Config asks for (np.float_ ...)",
        "numpy",
        NOTE,
        lambda of: at_least(of("numpy"), 2),
        "mended: this package's Config sets what is missing",
    ),
    Clash(
        "SciPy 1.13 and newer break RecBole's graph models (dok_matrix._update)",
        "scipy",
        NOTE,
        lambda of: at_least(of("scipy"), 1, 13),
        "mended in this package's LightGCN, NGCF, GCMC, NCL and SpectralCF; RecBole's KGIN and "
        "MCCLK need 'scipy<1.13'",
    ),
    Clash(
        "pandas 3 leaves missing values unfilled in RecBole's data sets, without an error",
        "pandas",
        BROKEN,
        lambda of: at_least(of("pandas"), 3),
        "pip install 'pandas<3'",
    ),
    Clash(
        "Ray up to 2.6.3 cannot be imported: setuptools 82 has no pkg_resources",
        "ray",
        NOTE,
        lambda of: _old_ray(of) and at_least(of("setuptools"), 82),
        "for sweeps and RecBole's quick_start: pip install 'setuptools<82', or a newer Ray with "
        "recbole==1.2.0",
    ),
    Clash(
        "Ray Tune up to 2.6.3 cannot be imported: numpy 2 has no np.bool8",
        "ray",
        NOTE,
        lambda of: _old_ray(of) and at_least(of("numpy"), 2),
        "for sweeps and RecBole's quick_start: pip install 'numpy<2', or a newer Ray with "
        "recbole==1.2.0",
    ),
    Clash(
        "Python 3.12 has no distutils, which RecBole's FLOPs counter (thop) imports",
        "setuptools",
        NOTE,
        lambda of: at_least(of("python"), 3, 12) and of("setuptools") is None,
        "pip install setuptools, which brings distutils back",
    ),
)


def _old_ray(of: VersionOf) -> bool:
    """RecBole 1.2.1 allows Ray up to 2.6.3."""
    return before(of("ray"), 2, 6, 4)
