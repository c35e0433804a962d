"""The page itself: its parts, in their order."""

from collections.abc import Sequence
from pathlib import Path

from recbole_hill.report.cells import Study, read_study
from recbole_hill.report.document import Line, Number, Table, is_better
from recbole_hill.report.lines import provenance_notes
from recbole_hill.report.page.figure import Pair, Point, Series, curves, marker, pairs, scatter
from recbole_hill.report.page.html import html, joined
from recbole_hill.report.page.index import index_section
from recbole_hill.report.page.style import CSS, JAVASCRIPT
from recbole_hill.report.page.table import html_notes, html_table, kind_of
from recbole_hill.report.study import study_table

PROTOCOLS = {
    "holdout": "a seeded part of train is validation, on which everything is chosen; "
    "test was read once",
    "refit": "epochs and settings were chosen by holdout, then all of train was trained on; "
    "test was read once",
    "published": "trained on all of train, and the best epoch on the test set is shown, as the "
    "papers did: the numbers are too high to expect of new data",
}


def page(studies: Path | str | Sequence[Path | str], reference: str | None = None) -> str:
    """Returns one HTML page that needs no other file and no network.

    Args:
        studies: A study's folder, or several folders; the page shows the studies one below another.
        reference: See :func:`recbole_hill.report.study.study_table`.

    Raises:
        FileNotFoundError: If a folder holds no study.
        ValueError: If its rows must not stand in one table.
    """
    folders = [studies] if isinstance(studies, Path | str) else list(studies)
    read = [read_study(folder) for folder in folders]
    return html_page([(study, study_table(study, reference)) for study in read])


def html_page(studies: Sequence[tuple[Study, Table]]) -> str:
    """Returns the page of studies with their tables."""
    sections = [_study(number, *each) for number, each in enumerate(studies)]
    tables = [table for _, table in studies]
    title = tables[0].title if len(tables) == 1 else "Results"
    links = ""
    if len(tables) > 1:
        named = [
            html('<a href="#study{}">{}</a>', number, table.title)
            for number, table in enumerate(tables)
        ]
        links = html("<nav>{}</nav>", joined(named))
    whole = html(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width, initial-scale=1"><title>{}</title><style>{}</style>'
        "</head>\n<body><main>{}{}</main>\n<script>{}</script></body></html>\n",
        title,
        CSS,
        links,
        joined(sections),
        JAVASCRIPT,
    )
    return str(whole)


def _study(number: int, study: Study, table: Table) -> str:
    drawn = [line for line in table.lines if line.made]
    rows = [row for cell in study.done for row in cell["rows"]]
    above = provenance_notes(rows) if rows else []  # the header has these notes already
    notes = [note for note in table.notes if note not in above]
    elsewhere = ", ".join(f"{line.name} ({line.source})" for line in drawn if line.source)
    notes += [f"* Published elsewhere than in the paper: {elsewhere}."] if elsewhere else []
    parts = [_header(study, table), html_table(table), html_notes(notes)]
    if study.kind == "variants":
        parts += [_sweep(study, table, metric) for metric in table.metrics]
    else:
        parts += [_pairs(table), _scatter(study, table)]
    parts.append(index_section(study))
    parts.append(_every_line(drawn))
    return html('<section class="study" id="study{}">{}</section>', number, joined(parts))


def _header(study: Study, table: Table) -> str:
    made = [line.made for line in table.lines if line.made]
    seeds = sorted({seed for each in made for seed in each["seeds"]})  # the seeds that were run
    protocols = list(dict.fromkeys(each["protocol"] for each in made))
    protocols = protocols or [study.about["protocol"]]
    badges = [html(' <span class="badge">{}</span>', name) for name in protocols]
    if any(each["test_selected"] for each in made):
        badges.append(html(' <span class="badge warning">test-selected</span>'))
    entries = [
        ("data", _joined(f"{each['dataset']} (SHA-256 {each['data_sha256']})" for each in made)),
        ("protocol", "; ".join(f"{name}: {PROTOCOLS.get(name, name)}" for name in protocols)),
        ("seeds", ", ".join(map(str, seeds))),
        ("split seed", _joined(each["split_seed"] for each in made)),
        ("commit", _joined(each["commit"] for each in made)),
        ("versions", _versions(made)),
        ("device", _joined(each["device"] for each in made)),
        ("training", _training(study)),
    ]
    listed = joined(html("<dt>{}</dt><dd>{}</dd>", name, text) for name, text in entries if text)
    command = study.about.get("command")
    if command:
        listed += html("<dt>command</dt><dd><code>{}</code></dd>", command)
    rows = len({line.name for line in table.lines if line.made})
    return html(
        '<h1>{}</h1><p class="lead">{}, {} rows, {} seed{}{}</p><dl>{}</dl><h2>Results</h2>'
        '<p class="hint">The best of a column is bold, the second underlined. <span '
        'class="screen">Press a column\'s head to sort by it.</span></p>',
        table.title,
        study.about["dataset"],
        rows,
        len(seeds),
        "s" if len(seeds) > 1 else "",
        joined(badges),
        listed,
    )


def _joined(values) -> str:
    return "; ".join(dict.fromkeys(map(str, values)))


def _versions(made: list[dict]) -> str:
    """Returns every package with its version, or with all versions among the lines."""
    by_package: dict[str, dict[str, None]] = {}
    for each in made:
        for package, version in each["versions"].items():
            by_package.setdefault(package, {})[version] = None
    return ", ".join(f"{package} {' or '.join(known)}" for package, known in by_package.items())


def _training(study: Study) -> str:
    hours = sum(cell.get("seconds", 0) for cell in study.cells) / 3600
    failed = f", {len(study.failed)} failed" if study.failed else ""
    return f"{len(study.done)} cells done{failed}, {hours:.2f} hours" if hours else ""


# -- figures ----------------------------------------------------------------------------------


def _scatter(study: Study, table: Table) -> str:
    metric = table.metrics[0] if is_better(table.metrics[0], 1, 0) else table.metrics[-1]
    column = table.metrics.index(metric)
    points = [
        Point(
            line.name,
            line.made["seconds"],
            line.numbers[column].mean,
            _kind(study, table, line),
            f"{line.name}: {metric} {line.numbers[column].text}, "
            f"{line.made['seconds']:,.0f} s of training",
        )
        for line in table.lines
        if _is_drawn(line, column) and line.made["seconds"] > 0
    ]
    if not points or not is_better(metric, 1, 0):
        return ""
    description = f"{metric} of {len(points)} models over their training time"
    kinds = {point.kind for point in points}
    return html(
        '<h2>{} against training time</h2><p class="hint">One point per model, means over '
        "seeds; the dotted line is the best that was had for the time or less. The pointer "
        "names a point.</p><figure>{}{}</figure>",
        metric,
        scatter(points, metric, description),
        _key(kinds, table),
    )


def _pairs(table: Table) -> str:
    """Returns the measured beside the published numbers of the first metric, if there are any."""
    rows = [
        Pair(
            line.name,
            line.numbers[0].mean,
            line.numbers[0].deviation,
            line.numbers[0].published,
            kind_of(table, line) or "usual",
        )
        for line in table.lines
        if _is_drawn(line, 0) and line.numbers[0].published is not None
    ]
    if not rows:
        return ""
    metric = table.metrics[0]
    rows.sort(key=lambda row: row.published, reverse=is_better(metric, 1, 0))
    kinds = {"published", *(row.kind for row in rows)}
    return html(
        '<h2>Ours beside the published numbers</h2><p class="hint">{}, the best published '
        "first.</p><figure>{}{}</figure>",
        metric,
        pairs(rows, metric, f"{metric}: ours and published"),
        _key(kinds, table),
    )


def _sweep(study: Study, table: Table, metric: str) -> str:
    column = table.metrics.index(metric)
    names = list(dict.fromkeys(line.name for line in table.lines if line.made))
    if not names:
        return ""
    arms = list(dict.fromkeys(line.arm for line in table.lines if line.made))
    controls = [arm for arm in arms if arm]
    series = []
    for arm in arms:
        lines = {line.name: line for line in table.lines if line.arm == arm and line.made}
        numbers = [lines[name].numbers[column] if name in lines else None for name in names]
        series.append(
            Series(
                arm or next(iter(lines.values())).made["model"],
                [number.mean if number else None for number in numbers],
                [number.deviation if number else None for number in numbers],
                f"control{controls.index(arm) % 7}" if arm else "own",
            )
        )
    published = {
        line.name: line.numbers[column].published for line in table.lines if _is_drawn(line, column)
    }
    if any(published.values()):
        printed = [published.get(name) for name in names]
        series.append(Series("published", printed, [None] * len(names), "published"))
    # Settings that begin with a number are steps of one quantity; words are not.
    connected = len(names) > 1 and all(name.lstrip(".")[:1].isdigit() for name in names)
    description = f"{metric} over {len(names)} settings"
    band = "the band is" if connected else "whiskers are"
    return html(
        '<h2>{} by setting</h2><p class="hint">Means over seeds; {} one sample standard '
        "deviation each way.</p><figure>{}</figure>",
        metric,
        band,
        curves(names, series, metric, description, connected=connected),
    )


def _is_drawn(line: Line, column: int) -> bool:
    return not line.arm and bool(line.made) and isinstance(line.numbers[column], Number)


def _kind(study: Study, table: Table, line: Line) -> str:
    beyond = "beyond" if line.name in study.definition.get("beyond", {}) else "usual"
    return kind_of(table, line) or beyond


def _key(kinds: set[str], table: Table) -> str:
    """Returns the legend of the kinds that a figure shows."""
    names = {
        "own": "HILL",
        "reference": f"{table.reference}, which others are tested against",
        "usual": "rows of the paper's table",
        "beyond": "rows beyond it",
        "published": "published",
    }
    shown = joined(
        html('<span><svg viewBox="0 0 14 14">{}</svg>{}</span>', marker(7, 7, kind, name), name)
        for kind, name in names.items()
        if kind in kinds
    )
    return html('<div class="key">{}</div>', shown)


def _every_line(lines: Sequence[Line]) -> str:
    """Returns how each line was made, folded away."""
    rows = []
    for line in lines:
        made = line.made
        stamp = " (test-selected)" if made["test_selected"] else ""
        rows.append(
            html(
                "<tr><td>{}</td><td>{}</td><td>{}{}</td><td>{}</td><td>{}</td>"
                '<td>{:,.1f}</td><td>{:,}</td><td class="command"><code>{}</code></td></tr>',
                line.label,
                ", ".join(map(str, made["seeds"])),
                made["protocol"],
                stamp,
                str(made["commit"]),
                made["device"],
                made["seconds"],
                made["peak_memory_mib"],
                made["command"],
            )
        )
    return html(
        '<details><summary>How each row was made</summary><div class="scroll"><table><thead>'
        "<tr><th>row</th><th>seeds</th><th>protocol</th><th>commit</th><th>device</th>"
        '<th>training, s</th><th>peak, MiB</th><th class="word">command of the first '
        "seed</th></tr></thead><tbody>{}</tbody></table></div></details>",
        joined(rows),
    )
