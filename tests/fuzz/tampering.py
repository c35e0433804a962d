"""Tampers with the files of finished work, and asks the commands that read them.

Right is a refusal in one line, the answer from before (the file was not needed), or another answer
with a warning or a note that names the file. Another answer without one is wrong.
"""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import made
import yaml
from harness import REFUSED, SURVIVED, Servers, case_folder, fault_of
from outcome import outcome


@dataclass(frozen=True)
class Reader:
    """A command that reads finished work.

    Attributes:
        argv: The command line.
        makes: The folder whose files are its answer; None: what it prints is.
    """

    argv: list[str]
    makes: str | None = None

    def answer(self, work: Path, out: str):
        """Returns its answer."""
        return out if self.makes is None else outcome(work / self.makes)


def readers(template: Path) -> dict[str, list[Reader]]:
    """Returns each folder of finished work that is there with the commands that read it."""
    found = {}
    for model, user in (("BPR", "3"), ("HILL", "3"), ("HSNN", "u3")):
        run = f"runs/{model}"
        found[run] = [
            Reader(["recommend", f"--checkpoint={run}", f"--users={user}", "--k=5"]),
            Reader(["report", run]),
            Reader(["export", f"--checkpoint={run}", "--output=new", "--k=3"], "new"),
            Reader(["run", f"--resume={run}"], run),
        ]
    found["runs/HILL"].append(Reader(["explain", "--checkpoint=runs/HILL", "--user=3"]))
    found["runs/HSNN"].append(Reader(["report", "--serving", "runs/HSNN"]))
    found["runs/stream"] = [
        Reader(["recommend", "--checkpoint=runs/stream", "--users=u3", "--k=5"]),
        Reader(made.stream_command("runs/stream"), "runs/stream"),
    ]
    export = ["export", "--checkpoint=runs/HILL", "--output=exported", "--k=5", "--force"]
    found["exported"] = [Reader(export, "exported")]
    found["dataset/tiny"] = [
        Reader(made.run_command("BPR", "--run_dir=new"), "new"),
        found["runs/HILL"][0],
        Reader(["prepare", "tiny", "--source=source", "--output=dataset"], "dataset/tiny"),
    ]
    if (template / "runs/HSNN").is_dir():
        found["dataset/log"] = [found["runs/HSNN"][0], found["runs/stream"][0]]
    found["studies"] = [
        Reader(made.study_command(), "studies"),
        Reader(["report", "--dataset=tiny"]),
    ]
    found["sweep"] = [
        Reader(made.sweep_command("sweep"), "sweep"),
        Reader(made.run_command("BPR", "--run_dir=new", "--epochs=1"), "new"),
    ]
    return {folder: each for folder, each in found.items() if (template / folder).is_dir()}


def tamperings(seed: int, count: int, template: Path) -> list[tuple]:
    """Returns cases (folder, file, way, reader), the same for the same seed; no file twice in one
    way."""
    rng, cases = random.Random(seed), []
    for folder, commands in readers(template).items():
        files = [path for path in sorted((template / folder).rglob("*")) if path.is_file()]
        for path in files:
            if "tensorboard" in str(path) or path.suffix in (".pth", ".lock", ".log"):
                continue
            name = str(path.relative_to(template))
            plain = path.suffix in (".json", ".jsonl", ".yaml")
            ways = [*WAYS, *PLAIN_WAYS] if plain else WAYS
            cases += [(folder, name, way, rng.choice(commands)) for way in ways]
    rng.shuffle(cases)
    return cases[:count]


def judge(
    servers: Servers, template: Path, root: Path, number: int, case: tuple, before: dict
) -> tuple[str, str]:
    """Tampers with a file and runs its reader; returns the verdict and a note.

    Args:
        servers: Where it runs.
        template: The working folder to copy.
        root: Where to make the copy.
        number: The case's number, which seeds what is random in its tampering.
        case: One of :func:`tamperings`.
        before: The answers of the readers on the files as they were, from :func:`answers`.
    """
    folder, name, way, reader = case
    with case_folder(root, str(number), template) as place:
        path = place / "work" / name
        {**WAYS, **PLAIN_WAYS}[way](path, random.Random(number))
        tampered = _state(path)
        ended = servers.run(reader.argv, place, limit=60)
        note = f"{name} {way}: {reader.argv!r:.200} -> {ended.status} "
        note += repr((ended.error or ended.err[-200:])[:300])
        if (place / "owned").exists():
            return "payload ran", note
        if fault := fault_of(ended):
            return fault, note
        named = path.name in ended.err or folder in ended.err
        named |= folder.startswith("dataset/") and "was made on other data" in ended.err
        if ended.status:
            # An error on a setting names its key.
            return REFUSED if named or path.suffix == ".yaml" else "unnamed", note
        answer, expected = reader.answer(place / "work", ended.out), before[json.dumps(reader.argv)]
        if reader.makes and _state(path) == tampered:  # neither read nor written
            own = str(Path(name).relative_to(reader.makes)) if name.startswith(reader.makes) else ""
            answer, expected = (
                {k: v for k, v in a.items() if k != own} for a in (answer, expected)
            )
        said = path.name in ended.err or (isinstance(answer, str) and path.name in answer)
        if answer == expected or said:
            return SURVIVED, note
        if isinstance(answer, dict) and isinstance(expected, dict):
            keys = sorted(answer.keys() | expected.keys())
            note += f" differs in {[k for k in keys if answer.get(k) != expected.get(k)]}"
    return "wrong", note


def _state(path: Path) -> tuple | None:
    """Returns what changes when a path is written again; None if it is not there."""
    return (
        (path.lstat().st_ino, path.lstat().st_mtime_ns)
        if path.is_symlink() or path.exists()
        else None
    )


def answers(servers: Servers, template: Path, root: Path, cases: list[tuple]) -> dict:
    """Returns the answers of the cases' readers on the files as they are."""

    def ask(numbered: tuple) -> tuple:
        number, reader = numbered
        with case_folder(root, f"before-{number}", template) as place:
            ended = servers.run(reader.argv, place, limit=60)
            assert ended.status == 0, (reader, ended)
            return json.dumps(reader.argv), reader.answer(place / "work", ended.out)

    distinct = {json.dumps(reader.argv): reader for *_, reader in cases}
    return dict(servers.map(ask, enumerate(distinct.values())))


# -- ways ---------------------------------------------------------------------------------------


def _truncated(path: Path, rng) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _bit_flipped(path: Path, rng) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(7)
    path.write_bytes(data)


def _bytes(data: bytes, path: Path, rng) -> None:
    path.write_bytes(data)


def _swapped(path: Path, rng) -> None:
    """Puts another run's file of this name in its place, or else its neighbour."""
    work = next(parent for parent in path.parents if parent.name == "work")
    others = [other for other in sorted(work.rglob(path.name)) if other != path]
    others = others or [
        other for other in sorted(path.parent.iterdir()) if other.is_file() and other != path
    ]
    shutil.copy(rng.choice(others), path)


def _line_removed(path: Path, rng) -> None:
    lines = path.read_bytes().split(b"\n")
    del lines[rng.randrange(max(1, len(lines) - 1))]
    path.write_bytes(b"\n".join(lines))


def _removed(path: Path, rng) -> None:
    path.unlink()


def _a_directory(path: Path, rng) -> None:
    path.unlink()
    path.mkdir()


def _a_link(target: str, path: Path, rng) -> None:
    path.unlink()
    path.symlink_to(target)


WAYS: dict[str, Callable] = {
    "truncated": _truncated,
    "emptied": partial(_bytes, b""),
    "bit flipped": _bit_flipped,
    "swapped": _swapped,
    "random bytes": partial(_bytes, bytes(random.Random(0).randbytes(3000))),
    "other text": partial(_bytes, b"this is another file\n"),
    "removed": _removed,
    "a directory": _a_directory,
    "a dangling link": partial(_a_link, "nowhere"),
    "a link to itself": lambda path, rng: _a_link(path.name, path, rng),
}


def _edited(edit: Callable, path: Path, rng) -> None:
    """Edits the data of a JSON file, of one line of JSON lines, or of YAML."""
    if path.suffix == ".yaml":
        data = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(edit(data, rng)))
        return
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    number = rng.randrange(len(lines))
    lines[number] = json.dumps(edit(json.loads(lines[number]), rng))
    path.write_text("\n".join(lines) + "\n")


def _places(data, wanted: Callable) -> list[tuple]:
    """Returns (container, key) of every entry, at any depth, that is wanted."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    found = []
    for key, value in list(items):
        found += [(data, key)] if wanted(value) else []
        found += _places(value, wanted) if isinstance(value, (dict, list)) else []
    return found


def _without_a_key(data, rng):
    places = [(place, key) for place, key in _places(data, lambda _: True) if place]
    if places:
        place, key = rng.choice(places)
        del place[key]
    return data


def _with_a_value(value, data, rng):
    """Puts a value in the place of a number, or of any entry if there is none."""
    is_number = lambda one: isinstance(one, (int, float)) and not isinstance(one, bool)  # noqa: E731
    places = _places(data, is_number) or _places(data, lambda _: True)
    if places:
        place, key = rng.choice(places)
        place[key] = value
    return data


PLAIN_WAYS: dict[str, Callable] = {
    "null": partial(_bytes, b"null\n"),
    "a list": partial(_bytes, b"[1, 2]\n"),
    "a number": partial(_bytes, b"7\n"),
    "an empty object": partial(_bytes, b"{}\n"),
    "a list of objects": partial(_bytes, b"[{}]\n"),
    "a line removed": _line_removed,
    "a key removed": partial(_edited, _without_a_key),
    "another key removed": partial(_edited, _without_a_key),
    "a text for a number": partial(_edited, partial(_with_a_value, "x")),
    "a NaN for a number": partial(_edited, partial(_with_a_value, float("nan"))),
    "a huge number": partial(_edited, partial(_with_a_value, 10**30)),
    "null for a number": partial(_edited, partial(_with_a_value, None)),
    "a list for a number": partial(_edited, partial(_with_a_value, [[]])),
    "another number": partial(_edited, partial(_with_a_value, 0.123)),
    "nested deep": partial(_bytes, b"[" * 100_000),
}
