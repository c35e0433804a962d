"""Kills commands at random moments and at every write of a file, and lets them go on.

The result must be that of the undisturbed command, with nothing lost and no temporary file left.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import made
from harness import Ended, Servers, case_folder, fault_of
from outcome import outcome

#: How a write fails: killed with the file half written, killed before and after the file is
#: renamed into place, and a full disk.
WAYS = {"fsync": ("torn", "full"), "replace": ("before", "after")}


@dataclass(frozen=True)
class Target:
    """A command that is killed.

    Attributes:
        argv: The command line.
        folder: What it makes.
        resumes: Whether it goes on with ``--resume``, and not by the same command line.
        more: Options of the same command line when it goes on.
        most: Largest number of crashes, for a command that takes long.
    """

    argv: list[str]
    folder: str
    resumes: bool = False
    more: tuple[str, ...] = ()
    most: int = 1000

    def again(self, work: Path) -> list[str]:
        """Returns the command line that goes on."""
        if self.resumes and (work / self.folder / "config.yaml").exists():
            return ["run", f"--resume={self.folder}"]
        return [*self.argv, *self.more]


def targets(*, studies: bool = False) -> dict[str, Target]:
    """Returns the commands to kill, by their name in the table; with a study and a sweep or not."""
    found = {
        f"run {model}": Target(made.run_command(model, "--run_dir=new"), "new", resumes=True)
        for model in ("BPR", "HILL", "HSNN")
    }
    found["stream"] = Target(made.stream_command("new"), "new")
    export = ["export", "--checkpoint=runs/HILL", "--output=new", "--k=5"]
    found["export"] = Target(export, "new", more=("--force",))
    found["prepare"] = Target(["prepare", "mine", "--source=source", "--output=new"], "new")
    if studies:
        found["study"] = Target([*made.study_command(), "--output=new"], "new", most=6)
        found["sweep"] = Target(made.sweep_command("new"), "new", most=6)
    return found


class Undisturbed:
    """What a target makes when nothing disturbs it, how long it takes, and its writes."""

    def __init__(self, servers: Servers, template: Path, root: Path, name: str, target: Target):
        with case_folder(root, f"undisturbed-{name.replace(' ', '-')}", template) as place:
            hook = ["failing_writes", "note_writes", {"log": str(place / "writes")}]
            ended = servers.run(target.argv, place, limit=100, hook=hook)
            assert ended.status == 0, (target, ended)
            self.seconds = ended.seconds
            self.outcome = outcome(place / "work" / target.folder)
            self.writes = (place / "writes").read_text().split()
            self.most = target.most

    def crash_points(self) -> list[tuple[int, str]]:
        """Returns every write's number with each way in which it fails; of many, some."""
        points = [(n, way) for n, call in enumerate(self.writes) for way in WAYS[call]]
        return random.Random(0).sample(points, min(self.most, len(points)))


def kill_at_random(
    servers: Servers, template: Path, place_of: tuple, target: Target, whole: Undisturbed, seed: int
) -> tuple[str, str]:
    """Kills a command once or twice at random moments; returns its verdict and a note."""
    rng = random.Random(seed)
    with case_folder(*place_of, template) as place:
        moments = []
        for _ in range(rng.choice([1, 1, 2])):
            moments.append(round(rng.random() * whole.seconds, 2))
            argv = target.argv if len(moments) == 1 else target.again(place / "work")
            alone = rng.random() < 0.3
            servers.run(argv, place, limit=100, kill_after=moments[-1], group=not alone)
        return _go_on(servers, place, target, whole, f"killed after {moments} s")


def crash_at(
    servers: Servers, template: Path, place_of: tuple, target: Target, whole: Undisturbed, point
) -> tuple[str, str]:
    """Has a command fail at a write; returns its verdict and a note."""
    number, way = point
    with case_folder(*place_of, template) as place:
        hook = ["failing_writes", "fail_at", {"number": number, "way": way}]
        ended = servers.run(target.argv, place, limit=100, hook=hook)
        what = f"write {number} {way}"
        if way == "full" and (fault := fault_of(ended)):
            return fault, f"{target.argv}: {what}: {ended.err[-300:]!r}"
        return _go_on(servers, place, target, whole, what)


def _go_on(
    servers: Servers, place: Path, target: Target, whole: Undisturbed, what: str
) -> tuple[str, str]:
    """Lets a killed command go on, and compares what it made."""
    argv = target.again(place / "work")
    ended: Ended = servers.run(argv, place, limit=100)
    note = f"{argv!r:.300}: {what}: {ended.error or ended.err[-300:]!r}"
    if fault := fault_of(ended):
        return fault, note
    if ended.status:
        return "lost", note
    folder = place / "work" / target.folder
    made_again = outcome(folder)
    if made_again != whole.outcome:
        keys = made_again.keys() | whole.outcome.keys()
        other = [k for k in sorted(keys) if made_again.get(k) != whole.outcome.get(k)]
        return "wrong", f"{note}: differs in {other}"
    if left := [str(path.relative_to(folder)) for path in folder.rglob("*.tmp")]:
        return "left files", f"{note}: {left}"
    return "survived", note
