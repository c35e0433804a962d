"""The electrical energy of a run: measured where the machine measures it, estimated elsewhere.

On Linux a processor counts its own energy (RAPL, ``/sys/class/powercap``); the counters are read
where the system lets the user read them: the run is measured. For a run on a GPU, and on a machine
without readable counters, CodeCarbon estimates the energy where it is installed (extra ``energy``):
a processor without a counter, and the memory, by a constant power times the time. Elsewhere there
is no number. A number always says how it was got.
"""

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Where Linux shows the counters; a zone without a parent is a whole processor.
POWERCAP = Path("/sys/class/powercap")
#: Seconds between two readings: a counter starts again at 0 after some 20 minutes at full load.
_INTERVAL = 60.0
_MICROJOULES_PER_WH = 3.6e9


class Rapl:
    """The processors' own counters.

    Args:
        zones: Folders of the zones, from :func:`rapl_zones`.
    """

    name, how = "RAPL", "measured"

    def __init__(self, zones: list[Path]):
        self._zones = zones
        self._ranges = [_number(zone / "max_energy_range_uj") for zone in zones]
        self._last = self._counters()
        self._used = 0
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def read(self) -> float:
        """Returns the Wh since the start; a counter that started again at 0 is continued."""
        with self._lock:
            now = self._counters()
            for before, after, span in zip(self._last, now, self._ranges, strict=True):
                self._used += after - before if after >= before else after - before + span
            self._last = now
            return self._used / _MICROJOULES_PER_WH

    def stop(self) -> None:
        """Ends the readings."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self.read()

    def _counters(self) -> list[int]:
        return [_number(zone / "energy_uj") for zone in self._zones]


class CodeCarbon:
    """CodeCarbon's estimate for processor, memory and GPU, offline; nothing is written.

    It reads a GPU's counter. It takes a constant power for memory, and for a processor whose
    counter it cannot read a constant power by the processor's type.
    """

    name, how = "CodeCarbon", "estimated"

    def __init__(self):
        from codecarbon import OfflineEmissionsTracker

        # The country gives grams of CO2, which are not read; energy does not depend on it.
        self._tracker = OfflineEmissionsTracker(
            country_iso_code="FRA",
            save_to_file=False,
            log_level="error",
            allow_multiple_runs=True,
        )
        self._tracker.start()
        self._is_running = True

    def read(self) -> float:
        """Ends the estimate, and returns its Wh."""
        self.stop()
        return 1000 * float(self._tracker.final_emissions_data.energy_consumed)

    def stop(self) -> None:
        """Ends the estimate."""
        if self._is_running:
            self._tracker.stop()
        self._is_running = False


@contextmanager
def measured_energy(gpu: bool) -> Iterator["Rapl | CodeCarbon | None"]:
    """Measures or estimates the energy of a block.

    Args:
        gpu: Whether the block computes on a GPU, which RAPL does not see.

    Yields:
        The meter; None where there is none.
    """
    meter = _meter(gpu)
    try:
        yield meter
    finally:
        if meter is not None:
            meter.stop()


def energy_record(meter: "Rapl | CodeCarbon | None") -> dict | None:
    """Returns ``wh``, ``how`` (measured or estimated) and ``by`` what; None without a meter."""
    if meter is None:
        return None
    return {"wh": round(meter.read(), 4), "how": meter.how, "by": meter.name}


def rapl_zones(powercap: Path = POWERCAP) -> list[Path]:
    """Returns the zones of whole processors; none if one of their counters cannot be read.

    Args:
        powercap: Folder of the zones.
    """
    zones = sorted(powercap.glob("intel-rapl:*"))
    packages = [zone for zone in zones if _text(zone / "name").startswith("package")]
    readable = all(
        _text(zone / name).isdigit()
        for zone in packages
        for name in ("energy_uj", "max_energy_range_uj")
    )
    return packages if readable else []


def _meter(gpu: bool) -> "Rapl | CodeCarbon | None":
    if not gpu and (zones := rapl_zones()):
        return Rapl(zones)
    return CodeCarbon() if importlib.util.find_spec("codecarbon") else None


def _number(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))


def _text(file: Path) -> str:
    """Returns what a file says; nothing if it is absent or may not be read."""
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""
