"""The package can be imported where the modules of POSIX systems are missing, as on Windows."""

import subprocess
import sys

#: Imports every module of the package, and prints which of them need an extra that is missing.
IMPORT_ALL = """
import importlib, pkgutil, sys
import filelock, psutil  # they import modules of the system that they are on

for name in ("fcntl", "grp", "pwd", "resource", "termios", "ray"):  # Ray needs pwd on Linux
    sys.modules[name] = None

import recbole_hill

def fail(name):
    raise

for module in pkgutil.walk_packages(recbole_hill.__path__, "recbole_hill.", onerror=fail):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] not in ("gensim", "matplotlib", "ray", "torch_geometric"):
            raise
        print(module.name)
print(sum(name.startswith("recbole_hill.") for name in sys.modules))
"""


def test_every_module_is_imported_without_the_modules_of_posix():
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *skipped, imported = done.stdout.split()
    assert skipped == ["recbole_hill.experiments.sweep.ray_search"]
    assert int(imported) > 100
