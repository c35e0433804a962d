"""A study's folder, the cells of one of the paper's tables, as a table to report."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recbole_hill.config import written_value
from recbole_hill.records import read_records
from recbole_hill.report.comparison import definition_of
from recbole_hill.report.document import MARKS, Line, Number, Table, is_better, ranked
from recbole_hill.report.lines import (
    COST,
    Footnotes,
    cost,
    difference_notes,
    line_of,
    provenance_notes,
)
from recbole_hill.report.seeds import differences, identity, require_one_experiment, spread
from recbole_hill.report.serving import REQUEST_COST, request_cost
from recbole_hill.study.ledger import CELLS, DONE, STUDY

#: What all rows of a study must share; in what else they differ the notes say.
_SHARED = ("dataset", "data_sha256", "split_seed")
#: Characters of an error that stand in the table; the notes have its whole first line.
_ERROR_WIDTH = 48


@dataclass(frozen=True)
class Study:
    """Cells of a table, done and failed.

    Attributes:
        folder: Where they are.
        about: ``study.json``: table, dataset, protocol, seeds, rows, cells, command.
        definition: The table's file of ``properties/table``.
        cells: That of every row and seed: row, seed, status, rows, error, run_dir.
        aside: Cells that were made otherwise than their row's last one, and are in no table.
    """

    folder: Path
    about: dict
    definition: dict
    cells: tuple[dict, ...]
    aside: tuple[dict, ...] = ()

    @property
    def kind(self) -> str:
        """``comparison`` of models, ``variants`` of one, or ``serving``."""
        return self.definition.get("kind", "comparison")

    @property
    def facts(self) -> dict[str, dict]:
        """What the table's file says of each row, those beyond the paper's last."""
        rows = {**self.definition["rows"], **self.definition.get("beyond", {})}
        return {name: facts or {} for name, facts in rows.items()}

    @property
    def done(self) -> list[dict]:
        """The cells with rows."""
        return [cell for cell in self.cells if cell["status"] == DONE]

    @property
    def failed(self) -> list[dict]:
        """The cells with an error."""
        return [cell for cell in self.cells if cell["status"] != DONE]


def read_study(folder: str | Path) -> Study:
    """Reads a study's folder.

    Raises:
        FileNotFoundError: If it holds no study.
        ValueError: If its description is not JSON, or there is no such table.
    """
    folder = Path(folder)
    about = folder / STUDY
    if not about.is_file():
        raise FileNotFoundError(f"{folder} is not a study's folder: it has no {STUDY}")
    described = _parsed(about.read_text(), f"{about}")
    entries = read_records(folder / CELLS, "cell").values()
    definition = definition_of(str(described["table"]))
    kept, aside = _of_one_making(_called_for(described, entries))
    return Study(folder, described, definition, tuple(kept), tuple(aside))


def _called_for(about: dict, entries: Iterable[dict]) -> list[dict]:
    """Returns the cells that the study's last command for their row and seed was about.

    With other settings it is another cell of the same row and seed. Where ``study.json`` does not
    say which, the last one counts.
    """
    found: dict[tuple, dict] = {}
    for cell in entries:
        named = about.get("cells", {}).get(cell["row"], {}).get(str(cell["seed"]))
        if named in (None, cell["cell"]):
            key = cell["row"], cell["seed"]
            found.pop(key, None)  # so that it stands where the last of them does
            found[key] = cell
    return list(found.values())


def _of_one_making(cells: list[dict]) -> tuple[list[dict], list[dict]]:
    """Returns the cells that may be averaged with the last one of their row, and the others.

    A study that goes on after its code, its libraries or its settings have changed holds both.
    """
    last = {cell["row"]: identity(cell["rows"][0]) for cell in cells if cell["status"] == DONE}
    kept, aside = [], []
    for cell in cells:
        alike = cell["status"] != DONE or identity(cell["rows"][0]) == last[cell["row"]]
        (kept if alike else aside).append(cell)
    return kept, aside


def _parsed(text: str, where: str) -> dict:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON: {error}") from error


def study_table(study: Study, reference: str | None = None) -> Table:
    """Returns a study's table: seeds averaged, best and second ranked, significance marked.

    Args:
        study: The study.
        reference: The row that all others are tested against, or the arm that each row's other
            arms are, such as ``continue``. By default NESCL or else the best baseline; among
            variants ``continue`` or else the first row; of serving the first row.

    Raises:
        ValueError: If a row's seeds must not be averaged, rows are of different data, or the
            reference is not in the table.
    """
    rows = [row for cell in study.done for row in cell["rows"]]
    if rows:
        require_one_experiment(rows, _SHARED)
        if rows[0]["dataset"] != study.about["dataset"]:
            raise ValueError(
                f"{study.folder / STUDY} says dataset {study.about['dataset']}, the rows of its "
                f"cells are of {rows[0]['dataset']}"
            )
    elif not study.failed:
        raise ValueError(f"{study.folder} has no finished cell yet: there is nothing to report")
    footnotes = Footnotes(study.definition.get("notes", {}))
    metrics = tuple(study.definition["metrics"])
    facts = _fact_names(study, rows)
    lines = [
        footnotes.marked(line, study.facts.get(name, {})) if _has_footnote(study, line) else line
        for name in _order(study)
        for line in _lines(study, name, metrics, facts)
    ]
    table = Table(
        title=study.definition.get("title", f"Table {study.about['table']}"),
        head="settings" if study.kind == "variants" else "model",
        metrics=metrics,
        lines=tuple(lines),
        facts=facts,
    )
    table, tests = _tested(table, study, reference)
    notes = [
        *(provenance_notes(rows) if rows else ()),
        *(["mean ± sample standard deviation over seeds"] if table.has_deviations else ()),
        *tests,
        *_given(study),
        *difference_notes(lines),
        *footnotes.notes,
        *_failures(study),
        *_set_aside(study),
        *_missing(study),
    ]
    return ranked(replace(table, notes=tuple(notes)))


# -- lines ------------------------------------------------------------------------------------


def _order(study: Study) -> list[str]:
    """Returns the rows that were run, in the paper's order, then any that it does not have."""
    ran = dict.fromkeys(cell["row"] for cell in study.cells)
    return [name for name in study.facts if name in ran] + [
        name for name in ran if name not in study.facts
    ]


def _lines(
    study: Study, name: str, metrics: tuple[str, ...], facts: tuple[str, ...]
) -> Iterable[Line]:
    """Yields a row's own line, then those of its other arms, all or those that the table shows."""
    rows = [row for cell in study.done if cell["row"] == name for row in cell["rows"]]
    if not rows:
        errors = [_first_line(cell) for cell in study.failed if cell["row"] == name]
        cells = (_shortened(f"failed: {errors[0]}"), *["–"] * (len(metrics) - 1))
        yield Line(name, cells, facts=("–",) * len(facts))
        return
    chosen = study.definition.get("arms")
    arms = dict.fromkeys(row["arm"] for row in rows)
    own = [arm for arm in arms if arm == rows[0]["model"]]
    for arm in [*own, *(arm for arm in arms if arm not in own)]:
        if chosen is not None and arm not in (*own, *chosen):
            continue
        group = [row for row in rows if row["arm"] == arm]
        said = study.facts.get(name, {}) if arm in own else {}
        yield line_of(
            group,
            metrics,
            name=name,
            arm="" if arm in own else arm,
            facts=_facts(study, group, facts, said),
            published=said.get(study.about["dataset"]),
            source=said.get("source", ""),
        )


def _has_footnote(study: Study, line: Line) -> bool:
    """Returns whether a row's footnote, of models on its published numbers, concerns the line."""
    return bool(line.published) if study.kind == "comparison" else not line.arm


def _fact_names(study: Study, rows: list[dict]) -> tuple[str, ...]:
    names = [_against_first(study)] if study.kind == "serving" and rows else []
    if any("paper" in facts for facts in study.facts.values()):
        names.append("paper")
    if study.kind == "comparison":
        return (*names, *COST)
    if any(row.get("retrieval") or row.get("serving") for row in rows):
        names.append("index recall@20")
    if any(row.get("retrieval") for row in rows):
        names.append("scored")
    if any(row.get("serving") for row in rows):
        names += REQUEST_COST
    return (*names, COST[0])


def _against_first(study: Study) -> str:
    """Returns the name of the column that has a row's error relative to that of the first row."""
    return f"{study.definition['metrics'][0]} against {_order(study)[0]}"


def _facts(study: Study, rows: list[dict], names: tuple[str, ...], said: dict) -> tuple[str, ...]:
    """Returns what a line says beside its metrics, a dash where its model has no such thing."""
    searched = [row["retrieval"] for row in rows if row.get("retrieval")]
    served = [row["serving"] for row in rows if row.get("serving")]
    found = dict(zip(COST, cost(rows), strict=True))
    found["paper"] = str(said.get("paper", "–"))
    if searched or served:
        found["index recall@20"] = f"{_mean(searched or served, 'index_recall@20'):.4f}"
    if searched:
        found["scored"] = f"{_mean(searched, 'scored_fraction'):.2%}"
    if served:
        found |= request_cost(served)
    if (gains := _gains(study, rows)) and _against_first(study) in names:
        found[_against_first(study)] = f"{spread(gains, 2)} %"
    return tuple(found.get(name, "–") for name in names)


def _gains(study: Study, rows: list[dict]) -> list[float]:
    """Returns, in per cent, by how much the first metric differs from the first row's, per seed."""
    first = _order(study)[0]
    of_first = {cell["seed"]: cell["rows"][0] for cell in study.done if cell["row"] == first}
    if rows[0] is of_first.get(rows[0]["seed"]):
        return []
    return differences(rows, of_first, study.definition["metrics"][0])


def _mean(facts: list[dict], key: str) -> float:
    return sum(one[key] for one in facts) / len(facts)


def _first_line(cell: dict) -> str:
    return (str(cell.get("error") or "no error was kept").strip().splitlines() or [""])[0]


def _shortened(text: str) -> str:
    return text if len(text) <= _ERROR_WIDTH else text[: _ERROR_WIDTH - 1].rstrip() + "…"


def _failures(study: Study) -> list[str]:
    return [
        f"{cell['row']}, seed {cell['seed']}, failed: {_first_line(cell)}" for cell in study.failed
    ]


def _given(study: Study) -> list[str]:
    """Returns which settings the study's commands gave over the table's own, and to which rows."""
    rows: dict[str, list[str]] = {}
    for cell in study.done:
        given = ", ".join(f"`{k}={written_value(v)}`" for k, v in cell.get("given", {}).items())
        named = rows.setdefault(given, [])
        named += [cell["row"]] if cell["row"] not in named else []
    return [
        f"Not the table's own: {given}, in {'every row' if len(rows) == 1 else '; '.join(names)}."
        for given, names in rows.items()
        if given
    ]


def _set_aside(study: Study) -> list[str]:
    """Returns, per row, which seeds were made otherwise, and in what."""
    notes = []
    for name in dict.fromkeys(cell["row"] for cell in study.aside):
        last = identity(next(c for c in study.done if c["row"] == name)["rows"][0])
        seeds = [cell["seed"] for cell in study.aside if cell["row"] == name]
        others = [identity(cell["rows"][0]) for cell in study.aside if cell["row"] == name]
        keys = {k for other in others for k in {**last, **other} if other.get(k) != last.get(k)}
        of_seeds = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        notes.append(
            f"**Left out**: {name}, {of_seeds}, made with another {', '.join(sorted(keys))} than "
            "the row's last, and never averaged with it."
        )
    return notes


def _missing(study: Study) -> list[str]:
    """Returns which cells the study is to have and has not, whole rows first."""
    ran = {(cell["row"], cell["seed"]) for cell in (*study.cells, *study.aside)}
    seeds = study.about["seeds"]
    names = dict.fromkeys([*study.definition["rows"], *_order(study)])
    absent: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        lacking = tuple(seed for seed in seeds if (name, seed) not in ran)
        absent.setdefault(lacking, []).append(name)
    absent.pop((), None)
    return [
        f"Not run yet{_of_seeds(lacking, seeds)}: {'; '.join(rows)}."
        for lacking, rows in sorted(absent.items(), key=lambda group: -len(group[0]))
    ]


def _of_seeds(lacking: tuple[int, ...], seeds: list[int]) -> str:
    if len(lacking) == len(seeds):
        return ""
    return f" with seed{'s' if len(lacking) > 1 else ''} {', '.join(map(str, lacking))}"


# -- significance -----------------------------------------------------------------------------


def _tested(table: Table, study: Study, reference: str | None) -> tuple[Table, list[str]]:
    """Returns the table with p values, and notes on what was tested or why nothing was."""
    numbered = [line for line in table.lines if line.made]
    chosen = _reference(study, numbered, reference)
    if not chosen or len(numbered) < 2:
        return table, []
    values = _per_user(study, numbered, table.metrics)
    within = chosen not in {line.label for line in numbered}  # an arm, within each row
    groups = (
        [[line for line in numbered if line.name == name] for name in _order(study)]
        if within
        else [numbered]
    )
    found: dict[tuple[str, str], Any] = {}
    users = 0
    for lines in groups:
        first = next((line.label for line in lines if chosen in (line.label, line.arm)), None)
        for metric in table.metrics if first else ():
            kept = {line.label: values[line.label].get(metric, {}) for line in lines}
            # While a study is being run, some rows have no seed yet that the reference has.
            kept = {label: seeds for label, seeds in kept.items() if seeds.keys() & kept[first]}
            if len(kept) > 1:
                for label, significance in _against(first, kept).items():
                    found[label, metric] = significance
                    users = significance.users.n
    what = f"`{chosen}` of the same row" if within else f"**{chosen}**"
    if not found:
        from recbole_hill.evaluation.per_user import PER_USER

        return table, [
            f"No significance marks: the runs keep no values per user ({PER_USER}) of {what} and "
            "another line."
        ]
    lines = tuple(replace(line, numbers=tuple(_with_p(line, table, found))) for line in table.lines)
    levels = ", ".join(f"{mark} p < {level:g}" for level, mark in sorted(MARKS.items())[::-1])
    family = "arms of a row" if within else "rows"
    notes = [
        f"{levels}: differs, either way, from {what}; paired t test over {users:,} users (each the "
        f"mean of the seeds that both have), Holm's correction over the {family} compared"
    ]
    tested = {label for label, _ in found}
    untested = [
        line.label
        for line in numbered
        if line.label not in tested and chosen not in (line.label, line.arm)
    ]
    if untested:
        notes.append(
            f"Not tested, for want of values per user and a common seed: {', '.join(untested)}."
        )
    return replace(table, lines=lines, reference=chosen), notes


def _against(reference: str, values: dict[str, dict]) -> dict[str, Any]:
    from recbole_hill.report.significance import against

    return {k: v for k, v in against(reference, values).items() if k != reference}


def _with_p(line: Line, table: Table, found: dict) -> Iterable["Number | str"]:
    for metric, number in zip(table.metrics, line.numbers, strict=True):
        tested = found.get((line.label, metric))
        if tested is not None:
            number = replace(
                number,
                t_p=tested.adjusted_t_p,
                wilcoxon_p=tested.adjusted_wilcoxon_p,
                users=tested.users,
                seeds=tested.seeds,
            )
        yield number


def _reference(study: Study, lines: list[Line], asked: str | None) -> str:
    """Returns the label of a line, or an arm's name."""
    labels = [line.label for line in lines]
    arms = [arm for arm in dict.fromkeys(line.arm for line in lines) if arm]
    if asked is not None:
        if asked not in (*labels, *arms):
            raise ValueError(
                f"reference must be a row or an arm of the table, got {asked!r}; accepted are "
                f"{', '.join(dict.fromkeys([*labels, *arms]))}"
            )
        return asked
    if study.kind == "variants" and "continue" in arms:
        return "continue"
    own = [line for line in lines if not line.arm]
    if study.kind != "comparison" or not own:
        return own[0].label if own else ""
    if "NESCL" in labels:
        return "NESCL"
    best = None
    for line in own:
        if line.made["model"] == "HILL":
            continue
        mean = line.numbers[0].mean
        if best is None or is_better(study.definition["metrics"][0], mean, best.numbers[0].mean):
            best = line
    return best.label if best else ""


def _per_user(
    study: Study, lines: list[Line], metrics: tuple[str, ...]
) -> dict[str, dict[str, dict[int, Any]]]:
    """Reads the values per user of every line that has them for all of its seeds.

    Returns:
        By label, metric and seed: a series indexed by user; nothing under a label without.
    """
    from recbole_hill.evaluation.per_user import PER_USER, read_arms

    values: dict[str, dict[str, dict[int, Any]]] = {}
    for cell in study.done:
        run = study.folder / str(cell.get("run_dir") or "")
        if not cell.get("run_dir") or not (run / PER_USER).is_file():
            continue
        frame = read_arms(run)
        for line in lines:
            if line.name != cell["row"]:
                continue
            of_arm = frame[frame["arm"] == (line.arm or line.made["model"])]
            for metric in of_arm.columns.intersection(metrics) if len(of_arm) else ():
                by_metric = values.setdefault(line.label, {}).setdefault(metric, {})
                by_metric[cell["seed"]] = of_arm[metric]
    for line in lines:
        of_line = values.setdefault(line.label, {})
        if any(set(seeds) != set(line.made["seeds"]) for seeds in of_line.values()):
            of_line.clear()  # a mean of some seeds is not the one that the table shows
    return values
