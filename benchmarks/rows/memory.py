"""Peak memory of NESCL's training step."""

import ctypes
from unittest.mock import patch

from recbole_hill.model import nescl
from rows import jobs
from rows.nescl_epoch import compare_losses, plainly
from rows.row import Row


class Memory(Row):
    """What a step needs beyond what model, graph and optimiser hold before it."""

    what = "peak memory of NESCL's training step, batch 4096"
    beside = "the same with its loss written plainly"
    unit = "MiB"
    at_most = 0.25

    def prepare(self) -> None:
        """Builds the model and takes a step, so that the optimiser's state is there."""
        self.job = jobs.nescl(self.setting)
        self.job.steps(1)

    def ours(self):
        """Takes our step."""
        self.job.steps(1)

    def peer(self):
        """Takes the plain loss's step."""
        with patch.object(nescl, "neighbour_contrast", plainly):
            self.job.steps(1)

    def cost(self, side) -> float:
        """Returns by how many MiB the process's resident memory peaks above where it was."""
        # Else a step would live in what earlier ones have freed but the allocator has kept.
        ctypes.CDLL(None).malloc_trim(0)
        with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
            file.write("5")  # the peak is what is resident now
        before = _status("VmHWM")
        side()
        peak = (_status("VmHWM") - before) / 1024
        assert peak > 1, f"a step cannot live in {peak:.1f} MiB"
        return peak

    def check(self) -> str:
        """Compares the two losses on one batch."""
        return compare_losses(self.job.model, self.job.batch())


def _status(name: str) -> int:
    """Returns a line of the kernel's account of this process, in KiB."""
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))


ROWS = [Memory]
