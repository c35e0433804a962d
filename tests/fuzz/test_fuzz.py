"""Generated command lines, kills, crashes at every write, and tampered files.

The slow form prints the table of the whole kind and fails on any fault:

    pytest -n 0 -s -m slow tests/fuzz

``FUZZ_SEED`` draws other cases. A case is found again by its seed, and its note is its command.
"""

import os
import pickle
import random
import shutil
import subprocess
import sys
from functools import partial

import kills
import lines
import made
import pytest
import tampering
from harness import CHECKOUT, Ended, Servers, Tally, case_folder, fault_of, files_below

SEED = int(os.environ.get("FUZZ_SEED", "2020"))

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="cases are forks, which POSIX has")


@pytest.fixture(scope="module")
def servers():
    started = Servers(1)
    yield started
    started.close()


@pytest.fixture(scope="module")
def many_servers():
    started = Servers(min(4, os.cpu_count() or 1))
    yield started
    started.close()


@pytest.fixture(scope="module")
def few(servers, tiny_path, tmp_path_factory):
    """The working folder with finished runs of BPR and HILL."""
    return made.make(servers, tmp_path_factory.mktemp("few"), tiny_path, finished=("BPR", "HILL"))


@pytest.fixture(scope="module")
def everything(many_servers, tiny_path, tmp_path_factory):
    """The working folder with everything finished: runs, a stream, a study, a sweep."""
    place = tmp_path_factory.mktemp("everything")
    return made.make(many_servers, place, tiny_path, studies=True)


@pytest.fixture
def tally(tiny_path):
    """The table; at the end no file outside of the cases' folders was touched."""
    before = files_below(tiny_path), checkout_files()
    counted = Tally()
    yield counted
    assert (files_below(tiny_path), checkout_files()) == before


def checkout_files() -> list[str]:
    """The names at the checkout's root, where a command without care would write."""
    return sorted(path.name for path in CHECKOUT.iterdir() if "cache" not in path.name)


def count(tally: Tally, servers: Servers, kind_of, judge, cases) -> None:
    """Judges the cases side by side, and counts their verdicts."""

    def one(numbered):
        number, case = numbered
        tally.add(kind_of(case), *judge(number, case))

    servers.map(one, enumerate(cases))


def count_lines(tally, servers, template, root, number, **options):
    cases = lines.command_lines(SEED, number, **options)
    plain = root / "template"
    shutil.copytree(template, plain, ignore=shutil.ignore_patterns("studies", "sweep"))
    count(
        tally,
        servers,
        lambda line: line.kind,
        partial(lines.judge, servers, plain, root),
        cases,
    )
    tally.require_no_fault()


def count_kills(tally, servers, template, root, targets, n_kills, n_crashes):
    """Kills the targets in turn, and fails at ``n_crashes`` of their writes (None: at all)."""
    plain = root / "template"
    shutil.copytree(template, plain, ignore=shutil.ignore_patterns("studies", "sweep"))
    whole = {
        name: kills.Undisturbed(servers, plain, root, name, target)
        for name, target in targets.items()
    }
    names = list(targets)
    killed = [(names[number % len(names)], number) for number in range(n_kills)]
    points = [(name, point) for name in names for point in whole[name].crash_points()]
    if n_crashes is not None:
        points = random.Random(SEED).sample(points, n_crashes)

    def judge(what, number, case):
        name, how = case
        place = root, f"{what.__name__}-{number}"
        return what(servers, plain, place, targets[name], whole[name], how)

    count(tally, servers, lambda c: f"kill, {c[0]}", partial(judge, kills.kill_at_random), killed)
    count(tally, servers, lambda c: f"crash, {c[0]}", partial(judge, kills.crash_at), points)
    tally.require_no_fault()


def count_tampering(tally, servers, template, root, number, **options):
    cases = tampering.tamperings(SEED, number, template, **options)
    before = tampering.answers(servers, template, root, cases)

    def judge(number, case):
        return tampering.judge(servers, template, root, number, case, before)

    count(tally, servers, lambda case: f"tampered, {case[0]}", judge, cases)
    tally.require_no_fault()


def test_some_command_lines(tally, servers, few, tmp_path):
    count_lines(tally, servers, few, tmp_path, 16, light=True)


def test_some_kills_and_crashes(tally, servers, few, tmp_path):
    every = kills.targets()
    targets = {name: every[name] for name in ("run BPR", "export", "prepare")}
    count_kills(tally, servers, few, tmp_path, targets, 2, 2)


def test_some_tampered_files(tally, servers, few, tmp_path):
    count_tampering(tally, servers, few, tmp_path, 12)


@pytest.mark.slow
def test_command_lines(tally, many_servers, everything, tmp_path):
    count_lines(tally, many_servers, everything, tmp_path, 1000)


@pytest.mark.slow
def test_kills_and_crashes(tally, many_servers, everything, tmp_path):
    targets = kills.targets(studies=True)
    count_kills(tally, many_servers, everything, tmp_path, targets, 100, None)


@pytest.mark.slow
def test_tampered_files(tally, many_servers, everything, tmp_path):
    count_tampering(tally, many_servers, everything, tmp_path, 400)


@pytest.mark.slow
@pytest.mark.parametrize(
    "argv",
    [
        ["models"],
        ["--model=HIL", "--dataset=tiny"],
        ["export"],
        ["recommend", "--checkpoint=runs/HILL", "--users=3", "--k=5"],
        ["report", "runs/BPR"],
    ],
)
def test_a_fork_does_what_a_fresh_process_does(many_servers, everything, tmp_path, argv):
    with case_folder(tmp_path, "case", everything) as place:
        forked = many_servers.run(argv, place)
        command = [sys.executable, "-m", "recbole_hill", *argv]
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        fresh = subprocess.run(
            command, cwd=place / "work", env=environment, capture_output=True, text=True
        )
    assert (forked.status, forked.out) == (fresh.returncode, fresh.stdout)
    assert forked.err.splitlines()[-1:] == fresh.stderr.splitlines()[-1:]


def test_the_judge_knows_each_fault():
    def ended(status, err, how="itself"):
        return fault_of(Ended(status, 1.0, how, "", err))

    assert ended(0, "") is None
    assert ended(1, "a warning\nerror: k must be at least 1, got 0\n") is None
    assert ended(2, "usage: x\nrun_recbole_hill.py run: error: argument --k: invalid\n") is None
    assert ended(1, "error: KeyError: 'a' (--debug shows where)\n") == "raw error"
    assert ended(1, "error: [Errno 2] a\nerror: b\n") == "raw error"
    assert ended(1, "") == "raw error"
    assert ended(1, "Traceback (most recent call last):\nerror: a\n") == "traceback"
    assert ended(-11, "") == "crash"
    assert ended(-9, "", "limit") == "hang"


def test_a_planted_pickle_is_live(tmp_path):
    made.plant_pickles(tmp_path / "work", tmp_path / "owned")
    pickles = sorted((tmp_path / "work").rglob("*.pth"))
    pickle.loads(pickles[0].read_bytes())
    assert (tmp_path / "owned").exists() and len(pickles) > 20
