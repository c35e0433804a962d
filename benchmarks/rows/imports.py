"""How long one waits for the package and for `models`."""

import os
import resource
import subprocess
import sys
from pathlib import Path

from rows.row import Row

ROOT = Path(__file__).resolve().parents[2]


def _in_process(*arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # pip compiles what it installs, RecBole among it; a checkout is compiled when it is first run.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, env=environment, cwd="/", check=True, capture_output=True, text=True
    )
    return done.stdout


class Imports(Row):
    """Python starts anew each time."""

    starts = 1

    def cost(self, side) -> float:
        """Returns the processor seconds of the process that a side runs."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(self.starts):
            side()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return spent / self.starts


class Package(Imports):
    """Both are nearly empty, so that Python's own start is most of it; 20 starts a turn."""

    what = "`import recbole_hill`"
    beside = "`import recbole`"
    at_most = 1.0
    starts = 20

    def ours(self):
        """Imports ours."""
        return _in_process("-c", "import sys, recbole_hill; print('torch' in sys.modules)")

    def peer(self):
        """Imports RecBole."""
        return _in_process("-c", "import sys, recbole; print('torch' in sys.modules)")

    def check(self) -> str:
        """Looks whether either imports PyTorch."""
        assert self.ours() == self.peer() == "False\n"
        return "neither imports PyTorch"


class Models(Imports):
    """The list of all models, by name, without importing any."""

    what = "the `models` command"
    beside = "`import recbole.config`, which every run needs"
    limit = 3.0

    def ours(self):
        """Lists the models."""
        return _in_process(str(ROOT / "run_recbole_hill.py"), "models")

    def peer(self):
        """Imports RecBole's configuration."""
        return _in_process("-c", "import recbole.config")

    def check(self) -> str:
        """Counts the names."""
        from recbole_hill import registry

        listed, names = self.ours(), [entry.name for entry in registry.entries()]
        missing = [name for name in names if name not in listed]
        assert not missing, f"not listed: {missing}"
        return f"all {len(names)} models are listed"


ROWS = [Package, Models]
