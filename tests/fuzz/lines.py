"""Generates command lines: every command, with valid, boundary and nasty values.

A line changes one thing of a command that runs: a setting, as ``--key=value`` or in a config file,
or an option. What it changes is known, so that an error can be asked to name it.
"""

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import made
from harness import REFUSED, SURVIVED, Ended, Servers, case_folder, fault_of, files_below
from recbole.utils import argument_list

from recbole_hill.config.dialect import parse_setting
from recbole_hill.config.properties import internal_defaults, recbole_defaults
from recbole_hill.config.schema import check, schema_of
from recbole_hill.run.folder import read_config

#: Is replaced by the path of a file that nothing must make.
OWNED = "OWNED"
NASTY = (
    *("", " ", "0", "-1", "1", "2", "1.5", "-0.0", "1e-9", "1e3", "1e308", "1e999", "-1e999"),
    *("1e-400", "nan", ".nan", ".inf", "-.inf", "99999999999999999999", "2147483648"),
    *("-9223372036854775809", "4294967296", "1000000", "true", "false", "yes", "no", "null", "~"),
    *("NA", "2024", "2024-01-01", "1:30", "0x10", "0o17", "1_000", "1,000", "[]", "{}", "[[]]"),
    *("[1]", "[1, 2]", "[0]", "[-1]", "[.nan]", "['a']", "[1, [2, [3]]]", "[null]", "[true]"),
    *("[10, 10]", "[5, 4, 3, 2, 1]", "[1.5]", "{a: b}", "{a: {b: c}}", "{1: 2}", "{null: 1}"),
    *("a: b", "a\nb", "\n", "\t", "'", '"', '"unclosed', "[unclosed", "{unclosed", "#", "a # b"),
    *("a b", "a#b", "../x", "..", ".", "/", "/dev/null", "/dev/zero", "/proc/self/mem"),
    *("/nonexistent/x", "~/x", "C:\\x", "x/../../y", "runs/BPR", "runs", "source/train.txt"),
    *("é", "日本", "\u202e", "😀", "\x1b[31m", "x" * 300, "x" * 5000, "%s %d {0}", "{}{}", "\\"),
    *("*alias", "&a [*a]", "[" * 3000, "cpu", "cuda", "cuda:7", "full", "none", "None", "auto"),
    f"!!python/object/apply:os.system ['touch {OWNED}']",
    f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{OWNED}']]",
    f"__import__('pathlib').Path('{OWNED}').touch()",
    *(f"$(touch {OWNED})", f"`touch {OWNED}`", f"; touch {OWNED}", f"| touch {OWNED}"),
)
#: Names of files that look like something else.
NAMES = ("2024", "1e3", "true", "NA", "null", "~", "a#b", "a b", "a: b", "[x]", "日本", "a,b", "-x")
#: Options whose value is a path, which may lead out of the working folder.
PATHS = {"run_dir", "checkpoint_dir", "data_path", "output", "resume", "checkpoint", "source"}
PATHS |= {"log_root", "dataset_save_path", "dataloaders_save_path"}
#: What an error may name in a setting's place.
_ALSO = {"users": ("user",), "run_dir": ("runs/",), "number": ("table",), "name": ("prepare",)}
_ALSO |= {"topk": ("valid_metric",), "metrics": ("valid_metric",), "config_files": ("config file",)}
_ALSO |= {"data_path": ("dataset",), "checkpoint": ("folder",), "resume": ("folder",)}
#: Models and commands that take seconds.
_HEAVY = {"stream", "sweep", "--model=HSNN", "--model=MoNN", "doctor"}


@dataclass(frozen=True)
class Line:
    """A command line.

    Attributes:
        argv: Arguments after the program's name.
        key, value: What it changes; an empty key: nothing.
        invalid: Whether the value is certainly none of the key's.
        files: Files that it needs in the working folder, with their text.
        kind: Its kind in the table.
    """

    argv: list[str]
    kind: str
    key: str = ""
    value: str = ""
    invalid: bool = False
    files: dict[str, str] = field(default_factory=dict)


def values(key: str, model: str) -> list[str]:
    """Returns values of a model's setting as they are written.

    They are the nasty ones, and the bounds and names that the schema has.
    """
    return [*NASTY, *_bounds(schema_of(key, owner=model))]


def accepts(key: str, model: str, text: str) -> bool:
    """Whether the schema of a model's setting accepts a value."""
    try:
        check(key, parse_setting(key, text), schema_of(key, owner=model))
    except ValueError:
        return False
    return True


def _bounds(schema: Mapping) -> list[str]:
    """Returns the bounds of a schema and the numbers beside them, and its names."""
    found = [json.dumps(one) for one in (*schema.get("enum", ()), *_part(schema, "const"))]
    for bound in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        found += [str(bound + step) for bound in _part(schema, bound) for step in (-1, 0, 1e-9, 1)]
    for part in (*schema.get("anyOf", ()), *_part(schema, "items")):
        found += [text for one in _bounds(part) for text in (one, f"[{one}]", f"[{one}, {one}]")]
    return found


def _part(schema: Mapping, name: str) -> list:
    return [schema[name]] if name in schema else []


@cache
def settings_of(model: str) -> list[str]:
    """Returns the settings that a model takes."""
    own = set(internal_defaults(model, made.DATASETS[model]))
    if model != "HSNN" and model != "MoNN":
        own |= set(recbole_defaults("overall.yaml"))
    for group in ("general", "training", "evaluation", "dataset"):
        own |= set(getattr(argument_list, f"{group}_arguments"))
    own |= {"run_dir", "seed", "model", "dataset", "backbone", "plugins", "tasks"}
    return sorted(own)


#: Options of the commands with the command line that each is added to.
OPTIONS = {
    "recommend": (
        ["recommend", "--checkpoint=runs/HILL", "--users=1,2", "--k=3"],
        ("checkpoint", "users", "user", "users_file", "k", "retrieval", "beam_width", "node_score"),
    ),
    "explain": (
        ["explain", "--checkpoint=runs/HILL", "--user=3"],
        ("checkpoint", "user", "k", "plugin"),
    ),
    "export": (
        ["export", "--checkpoint=runs/BPR", "--output=new", "--k=3"],
        ("checkpoint", "output", "k", "format", "users", "retrieval", "beam_width", "node_score"),
    ),
    "report": (["report", "runs/BPR"], ("dataset", "output", "reference", "table", "plugin")),
    "prepare": (
        ["prepare", "mine", "--source=source", "--output=made"],
        ("source", "output", "plugin", "name"),
    ),
    "table": (
        ["table", "3", "--dataset=tiny", "--data_path=dataset", "--dry_run"],
        (
            *("dataset", "models", "seeds", "protocol", "jobs", "threads", "memory", "gpus"),
            *("time_budget", "backbone_from", "reference", "output", "number", "plugin"),
        ),
    ),
    "stream": (["stream"], ("slices", "keep", "model", "dataset", "config_files")),
    "run": (["run"], ("model", "dataset", "config_files", "protocol", "resume", "plugin")),
    "sweep": (
        ["sweep", "--space=none.yaml", "--trials=1"],
        (
            *("space", "strategy", "trials", "time_budget", "jobs", "draw_seed", "output"),
            *("model", "dataset", "config_files"),
        ),
    ),
}
_SPACES = (
    *("{choice: []}", "{choice: 1}", "{choice: {}}", "[]", "1", "{uniform: [0, 1, 2]}"),
    *("{uniform: [1, 0]}", "{loguniform: [0, 1]}", "{loguniform: [-1, 1]}", "{quniform: [1]}"),
    *("{choice: [1], uniform: [0, 1]}", "{bad: [1]}", "{uniform: [a, b]}", "{uniform: [.nan, 1]}"),
    *("{choice: [{a: b}]}", "null", "{}", "{uniform: null}", "{randint: [1, .inf]}"),
)


def command_lines(seed: int, count: int, *, light: bool = False) -> list[Line]:
    """Returns command lines, the same for the same seed.

    Args:
        seed: Seed of the draw.
        count: Number of lines.
        light: Whether to leave out the models and commands that take seconds.
    """
    rng = random.Random(seed)
    makers = [_setting] * 9 + [_option] * 7 + [_table_setting, _stream_setting, _space, _no_command]
    makers += [_name]
    lines: list[Line] = []
    while len(lines) < count:
        line = rng.choice(makers)(rng)
        if not light or not _HEAVY & {*line.argv}:
            lines.append(line)
    return lines


def _setting(rng: random.Random) -> Line:
    """A run with a setting changed, on the command line or in a config file."""
    model = rng.choice(["BPR", "BPR", "HILL", "HILL", "HSNN", "MoNN", "EASE", "Pop", "LightGCN"])
    key = rng.choice(settings_of(model))
    value = rng.choice(values(key, model))
    invalid = not accepts(key, model, value)
    if rng.random() < 0.6:
        argv = _with_option(made.run_command(model), key, value)
        return Line(argv, "run, a setting", key, value, invalid)
    argv = [f"--model={model}", f"--dataset={made.DATASETS[model]}"]
    argv += [f"--config_files=base-{model}.yaml own.yaml"]
    return Line(argv, "run, a config file", key, value, False, {"own.yaml": f"{key}: {value}\n"})


def _name(rng: random.Random) -> Line:
    """A run whose folder, or a dataset whose name, looks like something else."""
    name = rng.choice(NAMES)
    if rng.random() < 0.5:
        argv = ["prepare", "--source=source", "--output=made", "--", name]
        return Line(argv, "prepare, a name", "name", name)
    argv = made.run_command("BPR", f"--run_dir={name}", "--epochs=1")
    return Line(argv, "run, a name", "run_dir", name)


def _stream_setting(rng: random.Random) -> Line:
    """A stream with a setting changed."""
    key = rng.choice(settings_of("HSNN"))
    value = rng.choice(values(key, "HSNN"))
    invalid = not accepts(key, "HSNN", value)
    argv = _with_option(["--slices=2", *made.run_command("HSNN", "--epochs=1")], key, value)
    return Line(["stream", *argv], "stream, a setting", key, value, invalid)


def _table_setting(rng: random.Random) -> Line:
    """A study's plan with a setting for every cell."""
    key = rng.choice(settings_of("BPR"))
    value = rng.choice(values(key, "BPR"))
    invalid = not accepts(key, "BPR", value)
    argv = _with_option([*OPTIONS["table"][0], "--models=Pop,BPR"], key, value)
    return Line(argv, "table --dry-run, a setting", key, value, invalid)


def _option(rng: random.Random) -> Line:
    """A command with one of its own options changed."""
    command = rng.choice(list(OPTIONS))
    start, options = OPTIONS[command]
    key = rng.choice(options)
    value = rng.choice(NASTY)
    if command in ("run", "stream", "sweep"):
        model = {"run": "BPR", "stream": "HSNN", "sweep": "BPR"}[command]
        start = [*start, *made.run_command(model)]
    if key in ("name", "number"):
        argv = [value if place == 1 else word for place, word in enumerate(start)]
    else:
        argv = _with_option(start, key, value)
    return Line(argv, f"{command}, an option", key, value)


def _space(rng: random.Random) -> Line:
    """A sweep with a space that is none."""
    key = rng.choice(["learning_rate", "n_negatives", "nonsense", "epochs", "dataset", "seed"])
    value = rng.choice(_SPACES)
    argv = ["sweep", *made.run_command("BPR"), "--space=own.yaml", "--trials=1", "--output=out"]
    return Line(argv, "sweep, a space", key, value, True, {"own.yaml": f"{key}: {value}\n"})


def _no_command(rng: random.Random) -> Line:
    """Words in an order that makes no command."""
    words = [*OPTIONS, "models", "doctor", *NASTY, "--", "-h", "--help", "--k", "--=1", "--a", "-x"]
    argv = [rng.choice(words) for _ in range(rng.randint(0, 3))]
    return Line(argv, "words")


def _with_option(argv: list[str], key: str, value: str) -> list[str]:
    """Returns the command line with an option set, in place of the one that it had."""
    kept = [word for word in argv if not word.startswith(f"--{key}=")]
    return [*kept, f"--{key}={value}"]


def judge(servers: Servers, template: Path, root: Path, number: int, line: Line) -> tuple[str, str]:
    """Runs a command line in a copy of the working folder; returns its verdict and a note."""
    with case_folder(root, str(number), template) as place:
        work, owned = place / "work", place / "owned"
        argv = [word.replace(OWNED, str(owned)) for word in line.argv]
        for name, text in line.files.items():
            (work / name).write_text(text.replace(OWNED, str(owned)))
        before = files_below(place)
        ended = servers.run(argv, place)
        verdict = _verdict(line, place, before, ended)
    shown = [*argv, *(f"[{name}: {text[:200]!r}]" for name, text in line.files.items())]
    said = (ended.error or ended.err[-300:].strip() or ended.out[-100:].strip())[:300]
    return verdict, f"{shown!r:.700} -> {ended.status} {ended.seconds:.0f}s {said!r}"


def _verdict(line: Line, place: Path, before: dict, ended: Ended) -> str:
    made_files = files_below(place).keys() - before.keys() - {"out.txt", "err.txt"}
    changed = {
        name for name, about in files_below(place).items() if before.get(name, about) != about
    }
    outside = {name for name in made_files | changed if not name.startswith("work/")}
    outside -= {"out.txt", "err.txt"}
    if "owned" in outside:
        return "payload ran"
    if fault := fault_of(ended):
        return fault
    if outside and line.key not in PATHS:
        return "left files"
    if ended.status:
        if line.key and not _names(line, place, ended.error):
            return "unnamed"
        left = {name for name in made_files | changed if not _is_of_a_started_run(place, name)}
        return "left files" if left else REFUSED
    return "wrong" if line.invalid or not _is_as_asked(line, place, ended) else SURVIVED


def _names(line: Line, place: Path, error: str) -> bool:
    """Whether an error names the key, or the value as far as it is printed."""
    value = line.value.replace(OWNED, str(place / "owned")).strip().lower()
    error = error.lower()
    names = {line.key, line.key.replace("_", "-"), *_ALSO.get(line.key, ()), *line.files}
    names |= {"none.yaml"} if line.argv[0] == "sweep" else set()
    shown = {value[:40], repr(value)[1:41].rstrip("'")} - {""}  # as it is, or with its escapes
    return any(name.lower() in error for name in {*names, *shown})


def _is_of_a_started_run(place: Path, name: str) -> bool:
    """Whether a file is of a run whose training began: it goes on with --resume."""
    return any((place / folder / "stages.json").exists() for folder in Path(name).parents) or any(
        (place / name).rglob("stages.json") if (place / name).is_dir() else ()
    )


def _is_as_asked(line: Line, place: Path, ended: Ended) -> bool:
    """Whether a run that ended well has finite metrics, and the setting that was asked."""
    kept = ended.out.strip().rpartition("kept in ")[2]
    if line.kind == "prepare, a name":
        return (place / "work/made" / line.value / f"{line.value}.train.inter").is_file()
    if line.key == "run_dir" and parse_setting("run_dir", line.value) is None:
        return kept.startswith("saved/")
    if line.key == "run_dir" and line.kind == "run, a name":
        return (place / "work" / line.value / "rows.jsonl").is_file()
    if not line.kind.startswith("run, a") or "\n" in kept:
        return True
    folder = place / "work" / kept
    rows = [json.loads(text) for text in (folder / "rows.jsonl").read_text().splitlines()]
    numbers = [value for row in rows for value in row["metrics"].values()]
    if not rows or not all(math.isfinite(value) for value in numbers):
        return False
    if line.kind != "run, a setting" or line.key in PATHS | {"backbone", "model", "dataset"}:
        return True
    config = read_config(folder)
    asked = parse_setting(line.key, line.value.replace(OWNED, str(place / "owned")))
    return line.key not in config or config[line.key] == asked
