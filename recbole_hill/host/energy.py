"""The electrical energy of a run, where the machine measures it.

On Linux a processor counts its own energy (RAPL, ``/sys/class/powercap``); the counters are read
where the system lets the user read them. A run on a GPU, and a machine without readable counters,
is measured by CodeCarbon where it is installed (extra ``energy``). Elsewhere nothing is measured,
and no number is made up.
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

    name = "RAPL"

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
    """CodeCarbon's measurement of processor, memory and GPU, offline; nothing is written."""

    name = "CodeCarbon"

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
        """Ends the measurement, and returns its Wh."""
        self.stop()
        return 1000 * float(self._tracker.final_emissions_data.energy_consumed)

    def stop(self) -> None:
        """Ends the measurement."""
        if self._is_running:
            self._tracker.stop()
        self._is_running = False


@contextmanager
def measured_energy(gpu: bool) -> Iterator["Rapl | CodeCarbon | None"]:
    """Measures the energy of a block.

    Args:
        gpu: Whether the block computes on a GPU, which RAPL does not see.

    Yields:
        The meter; None where nothing measures.
    """
    meter = _meter(gpu)
    try:
        yield meter
    finally:
        if meter is not None:
            meter.stop()


def energy_record(meter: "Rapl | CodeCarbon | None") -> dict | None:
    """Returns ``wh`` and ``by`` (what measured it); None where nothing measures."""
    return None if meter is None else {"wh": round(meter.read(), 4), "by": meter.name}


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
