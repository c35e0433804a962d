"""Energy of a run: the processors' counters in a made folder; nothing where nothing measures."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_seeds import row

from recbole_hill.host import energy
from recbole_hill.host.energy import Rapl, energy_record, measured_energy, rapl_zones
from recbole_hill.report.tables import arms_table

#: Microjoules of a counter before it starts again at 0.
RANGE = 262_143_328_850


def write_zone(powercap: Path, zone: str, name: str, counter: int) -> Path:
    folder = powercap / zone
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "energy_uj").write_text(f"{counter}\n")
    (folder / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return folder


@pytest.fixture
def powercap(tmp_path, monkeypatch) -> Path:
    """Two processors, a part of one, and a zone of the whole board."""
    write_zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    write_zone(tmp_path, "intel-rapl:0:0", "core", 5)
    write_zone(tmp_path, "intel-rapl:1", "package-1", RANGE - 1_000_000)
    write_zone(tmp_path, "intel-rapl:2", "psys", 5)
    monkeypatch.setattr(energy.rapl_zones, "__defaults__", (tmp_path,))
    return tmp_path


def test_the_processors_are_counted_once_and_over_the_counters_start(powercap):
    assert [zone.name for zone in rapl_zones()] == ["intel-rapl:0", "intel-rapl:1"]
    with measured_energy(gpu=False) as meter:
        assert energy_record(meter) == {"wh": 0.0, "how": "measured", "by": "RAPL"}
        write_zone(powercap, "intel-rapl:0", "package-0", 1_000_000 + 3_600_000_000)  # 1 Wh
        write_zone(powercap, "intel-rapl:1", "package-1", 1_799_000_000)  # 0.5 Wh, past the range
        assert meter.read() == pytest.approx(1.5)
        write_zone(powercap, "intel-rapl:1", "package-1", 1_799_000_000 + 7_200_000_000)
        assert energy_record(meter) == {"wh": 3.5, "how": "measured", "by": "RAPL"}


def test_a_long_run_is_read_in_between(powercap, monkeypatch):
    monkeypatch.setattr(energy, "_INTERVAL", 0.01)
    with measured_energy(gpu=False) as meter:
        write_zone(powercap, "intel-rapl:0", "package-0", RANGE - 1)
        while not meter._used:
            pass
        write_zone(powercap, "intel-rapl:0", "package-0", 1_000_000)  # a whole round
        assert meter.read() == pytest.approx(RANGE / 3.6e9)


def test_a_counter_that_may_not_be_read_is_no_meter(powercap, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (powercap / "intel-rapl:1" / "energy_uj").unlink()
    assert rapl_zones() == []
    with measured_energy(gpu=False) as meter:
        assert meter is None and energy_record(meter) is None


def test_a_run_on_a_gpu_is_not_measured_by_the_processor(powercap, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with measured_energy(gpu=True) as meter:
        assert meter is None
    with measured_energy(gpu=False) as meter:
        assert isinstance(meter, Rapl)


def test_codecarbon_estimates_what_rapl_cannot_measure(monkeypatch, tmp_path):
    calls = []

    class Tracker:
        def __init__(self, **options):
            calls.append(options["save_to_file"])

        def start(self):
            calls.append("start")

        def stop(self):
            calls.append("stop")
            self.final_emissions_data = SimpleNamespace(energy_consumed=0.0125)  # kWh

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "codecarbon")
    monkeypatch.setitem(sys.modules, "codecarbon", SimpleNamespace(OfflineEmissionsTracker=Tracker))
    with measured_energy(gpu=True) as meter:
        assert energy_record(meter) == {"wh": 12.5, "how": "estimated", "by": "CodeCarbon"}
    assert calls == [False, "start", "stop"]


@pytest.mark.parametrize(
    ("energy", "line"),
    [
        ({"wh": 3.5, "how": "measured", "by": "RAPL"}, "energy: 3.50 Wh, measured by RAPL"),
        (
            {"wh": 12.5, "how": "estimated", "by": "CodeCarbon"},
            "energy: 12.50 Wh, estimated by CodeCarbon",
        ),
        (None, "energy: not measured (docs/howto/runs.md says what measures it)"),
    ],
)
def test_the_printed_line_says_how_the_number_was_got(energy, line):
    made = row("Pop", 1, 0.5)
    assert line in arms_table([{**made, "energy": energy}]).splitlines()
