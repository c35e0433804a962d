"""Figures as SVG: scatter plots, measured beside published numbers, lines over settings, bars.

Colours are classes: the page's style sheet chooses them for light screens, dark screens and paper.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import quantiles

from recbole_hill.report.page.axis import Axis, duration_text, tick_text
from recbole_hill.report.page.html import html, joined

WIDTH = 1080
_LINE = 13
#: Points this many interquartile ranges below the lower quartile are drawn at the edge.
_FAR = 4


@dataclass(frozen=True)
class Point:
    """A named point of a scatter plot.

    Attributes:
        label: Its name.
        x: Its value along the first axis.
        y: Its value along the second axis.
        kind: ``usual``, ``reference``, ``own`` or ``beyond``: its colour and shape.
        tip: The text that the pointer shows.
    """

    label: str
    x: float
    y: float
    kind: str
    tip: str


@dataclass(frozen=True)
class Series:
    """A line over settings.

    Attributes:
        name: Its name in the legend.
        means: One value per setting; None where there is no value.
        deviations: Half the band's height per setting; None for a single seed.
        kind: ``own``, ``published``, or ``control0`` ... : its colour, dashes and shape.
    """

    name: str
    means: Sequence[float | None]
    deviations: Sequence[float | None]
    kind: str


def scatter(points: Sequence[Point], y_name: str, description: str) -> str:
    """Returns points over seconds on a logarithmic axis, with the front of the best per time.

    A label is drawn where it touches no point and no other label. A point without such a place has
    no label; the pointer still shows its name.

    Args:
        points: The points, at least one.
        y_name: Name of the second axis.
        description: The text for a screen reader.
    """
    height, left, right, top, bottom = 520, 62, WIDTH - 24, 18, 466
    x = Axis.around([point.x for point in points], left, right, log=True)
    floor = _floor([point.y for point in points])
    far = [point for point in points if point.y < floor]
    shown = [point for point in points if point.y >= floor]
    y = Axis.around([point.y for point in shown], bottom - 26 * bool(far), top)
    y = Axis(y.low - (bottom - y.start) * (y.high - y.low) / (y.start - top), y.high, bottom, top)
    parts = [
        *_grid_y(y, left, right, y_name),
        *_ticks_x(x, top, bottom, duration_text),
        _text((left + right) / 2, bottom + 42, "training time (logarithmic)", "name middle"),
    ]
    front, best = [], float("-inf")
    for point in sorted(shown, key=lambda point: (point.x, -point.y)):
        if point.y > best:
            best = point.y
            front.append((x(point.x), y(point.y)))
    steps = [f"M{front[0][0]:.1f} {front[0][1]:.1f}"]
    steps += [f"H{a:.1f}V{b:.1f}" for a, b in front[1:]]
    parts.append(html('<path class="front" d="{}H{}"/>', joined(steps), right))
    edge = bottom - 10
    low = [replace(point, label=f"{point.label} {point.y:.4f} \u2193") for point in far]
    places = [(x(p.x), y(p.y), p) for p in shown] + [(x(p.x), edge, p) for p in low]
    parts += _labels(places, (left, top, WIDTH, bottom))
    parts += [
        marker(a, b, point.kind, point.tip)
        for a, b, point in sorted(places, key=lambda each: each[2].kind in ("own", "reference"))
    ]
    return _svg(height, parts, description)


def _floor(values: Sequence[float]) -> float:
    """Returns the value below which a point would squeeze all others together."""
    if len(values) < 8:
        return min(values)
    lower, _, upper = quantiles(values, n=4)
    return lower - _FAR * (upper - lower)


def _labels(points: list[tuple[float, float, Point]], frame: tuple) -> list[str]:
    """Returns the labels that find a free place, the important and the best points first."""
    boxes = [(a - 5, b - 5, a + 5, b + 5) for a, b, _ in points]
    order = sorted(points, key=lambda each: (each[2].kind not in ("own", "reference"), each[1]))
    parts = []
    for a, b, point in order:
        width = _width(point.label)
        for dx, dy in _PLACES:
            start = a + dx - (0 if dx > 0 else width if dx < 0 else width / 2)
            box = (start - 2, b + dy - _LINE / 2, start + width + 2, b + dy + _LINE / 2)
            inside = frame[0] <= box[0] and box[2] <= frame[2]
            inside = inside and frame[1] <= box[1] and box[3] <= frame[3]
            if not inside or any(_overlap(box, other) for other in boxes):
                continue
            boxes.append(box)
            side = "" if dx > 0 else " end" if dx < 0 else " middle"
            if abs(dy) > 15 or abs(dx) > 15:
                near = a + dx - (2 if dx > 0 else -2)
                parts.append(
                    html(
                        '<line class="leader" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>',
                        a,
                        b,
                        near,
                        b + dy,
                    )
                )
            kind = f"label {point.kind}{side}"
            parts.append(_text(a + dx, b + dy + 4, point.label, kind))
            break
    return parts


def _width(text: str) -> float:
    """Returns the width of a label by estimate, rather too wide: text cannot be measured here."""
    narrow, wide = set("iljft.,:'|-()[] I1"), set("mwMW@%")
    return sum(
        4.6 if letter in narrow else 9.6 if letter in wide else 7.9 if letter.isupper() else 7.0
        for letter in text
    )


#: Places of a label relative to its point, nearest first; x below 0 is to the left of the point.
_PLACES = [
    (8, 0), (-8, 0), (0, -12), (0, 12), (7, -10), (7, 10), (-7, -10), (-7, 10),
    (14, -20), (14, 20), (-14, -20), (-14, 20), (22, 0), (-22, 0),
    (20, -32), (20, 32), (-20, -32), (-20, 32), (30, -44), (30, 44), (-30, -44), (-30, 44),
]  # fmt: skip


def _overlap(first: tuple, second: tuple) -> bool:
    return (
        first[0] < second[2]
        and second[0] < first[2]
        and first[1] < second[3]
        and second[1] < first[3]
    )


@dataclass(frozen=True)
class Pair:
    """A measured and a published number of one row.

    Attributes:
        name: The row.
        measured: Our number.
        deviation: Its spread over seeds, if any.
        published: The printed number.
        kind: ``usual``, ``reference``, ``own`` or ``beyond``.
    """

    name: str
    measured: float
    deviation: float | None
    published: float
    kind: str = "usual"


def pairs(rows: Sequence[Pair], x_name: str, description: str) -> str:
    """Returns a line per row from the published number to the measured one.

    Args:
        rows: The rows, at least one, top first.
        x_name: Name of the axis.
        description: The text for a screen reader.
    """
    names = 14 + max(_width(row.name) for row in rows)
    left, right, top, step = max(90.0, names), WIDTH - 96, 26, 21
    bottom = top + step * len(rows)
    ends = [row.measured + sign * (row.deviation or 0) for row in rows for sign in (-1, 1)]
    x = Axis.around([*ends, *(row.published for row in rows)], left, right)
    parts = _ticks_x(x, top - 6, bottom, tick_text)
    parts.append(_text((left + right) / 2, bottom + 42, x_name, "name middle"))
    for number, row in enumerate(rows):
        y = top + step * (number + 0.5)
        difference = f"{round(row.measured / row.published - 1, 3) + 0.0:+.1%}"
        tip = f"{row.name}: {row.measured:.4f}, published {row.published:.4f} ({difference})"
        a, b = x(row.published), x(row.measured)
        parts += [
            _text(left - 12, y + 4, row.name, f"label end {row.kind}"),
            html('<line class="reach" x1="{:.1f}" y1="{}" x2="{:.1f}" y2="{}"/>', a, y, b, y),
            marker(a, y, "published", tip),
        ]
        if row.deviation:
            parts.append(_whisker(b, x(row.measured + row.deviation) - b, y, row.kind))
        parts.append(marker(b, y, row.kind, tip))
        parts.append(_text(WIDTH - 2, y + 4, difference.replace("-", "−"), "tick end"))
    return _svg(bottom + 54, parts, description)


def _whisker(x: float, reach: float, y: float, kind: str) -> str:
    return html('<path class="whisker {}" d="M{:.1f} {}H{:.1f}"/>', kind, x - reach, y, x + reach)


def curves(
    settings: Sequence[str],
    series: Sequence[Series],
    y_name: str,
    description: str,
    *,
    connected: bool,
) -> str:
    """Returns lines over settings, with the seeds' spread as a band or as whiskers.

    Args:
        settings: Names along the first axis.
        series: The series, the first on top.
        y_name: Name of the second axis.
        description: The text for a screen reader.
        connected: Whether the settings are steps of one quantity, so that a line between them has a
            meaning.
    """
    left, right, top, bottom = 62, WIDTH - 170, 18, 352
    values = [
        mean + sign * (deviation or 0)
        for each in series
        for mean, deviation in zip(each.means, each.deviations, strict=True)
        if mean is not None
        for sign in (-1, 1)
    ]
    y = Axis.around(values, bottom, top)
    step = (right - left) / len(settings)
    places = [left + step * (number + 0.5) for number in range(len(settings))]
    parts = _grid_y(y, left, right, y_name)
    names = [_wrapped(name, step) for name in settings]
    height = bottom + 16 + 14 * max(map(len, names))
    for place, lines in zip(places, names, strict=True):
        for row, line in enumerate(lines):
            parts.append(_text(place, bottom + 20 + 14 * row, line, "tick middle"))
    drawn = list(enumerate(series))[::-1]
    for number, each in drawn:
        # Beside each other, or their whiskers would hide one another.
        shift = 0 if connected else (number - (len(series) - 1) / 2) * min(14, step / 10)
        parts += _curve(each, settings, [place + shift for place in places], y, connected)
    for name_y, each in _spread_names(series, y, connected):
        parts.append(marker(right + 14, name_y, each.kind, each.name))
        parts.append(_text(right + 25, name_y + 4, each.name, f"label {each.kind}"))
    return _svg(height, parts, description)


def _curve(each: Series, settings, places: list[float], y: Axis, connected: bool) -> list[str]:
    points = [
        (place, mean, deviation or 0.0, name)
        for place, mean, deviation, name in zip(
            places, each.means, each.deviations, settings, strict=True
        )
        if mean is not None
    ]
    parts = []
    if connected and len(points) > 1 and each.kind != "published":
        # The controls' bands would cover each other.
        if each.kind == "own" and any(deviation for _, _, deviation, _ in points):
            upper = [f"{a:.1f} {y(m + d):.1f}" for a, m, d, _ in points]
            lower = [f"{a:.1f} {y(m - d):.1f}" for a, m, d, _ in points[::-1]]
            parts.append(
                html('<path class="band {}" d="M{}Z"/>', each.kind, "L".join(upper + lower))
            )
        line = "L".join(f"{a:.1f} {y(m):.1f}" for a, m, _, _ in points)
        parts.append(html('<path class="curve {}" d="M{}"/>', each.kind, line))
    else:
        parts += [
            html(
                '<path class="whisker {}" d="M{:.1f} {:.1f}V{:.1f}"/>',
                each.kind,
                a,
                y(m - d),
                y(m + d),
            )
            for a, m, d, _ in points
            if d
        ]
    for a, m, d, name in points:
        spread = f" ± {d:.4f}" if d else ""
        parts.append(marker(a, y(m), each.kind, f"{each.name}, {name}: {m:.4f}{spread}"))
    return parts


def _spread_names(series: Sequence[Series], y: Axis, connected: bool) -> list[tuple]:
    """Returns, for each series, the height of its name at the right edge, at least a line apart."""
    if not connected:
        return [(y.end + 10 + 20 * number, each) for number, each in enumerate(series)]
    ends = []
    for each in series:
        known = [mean for mean in each.means if mean is not None]
        if known:
            ends.append((y(known[-1]), each))
    ends.sort(key=lambda end: end[0])
    heights: list[float] = []
    for height, _ in ends:
        heights.append(max(height, heights[-1] + 18) if heights else height)
    over = max(0.0, heights[-1] - y.start)
    return [(height - over, each) for height, (_, each) in zip(heights, ends, strict=True)]


def _wrapped(text: str, width: float) -> list[str]:
    """Returns the lines of a text that fit the width; a bar ends a line."""
    lines: list[str] = []
    for part in text.split(" | "):
        line = ""
        for word in part.split():
            if line and _width(f"{line} {word}") > width - 8:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}".strip()
        lines.append(line)
    return lines


def histogram(sizes: Sequence[int], even: float, title: str, width: int = 520) -> str:
    """Returns how many nodes hold how many items.

    Args:
        sizes: Items of each node, at least one node.
        even: The items of a node if all nodes were equal.
        title: The title above the figure.
        width: The figure's width.
    """
    height, left, right, top, bottom = 240, 52, width - 14, 34, 190
    least, largest = min(sizes), max(sizes)
    step = max(1, -(-(largest - least + 1) // 24))
    counts = [0] * ((largest - least) // step + 1)
    for size in sizes:
        counts[(size - least) // step] += 1
    x = Axis(least - 0.5, least + step * len(counts) - 0.5, left, right)
    y = Axis(0, max(counts) * 1.06, bottom, top)
    parts = [_text(left, 16, title, "title"), *_grid_y(y, left, right, "nodes", about=4)]
    for number, count in enumerate(counts):
        low = least + number * step
        high = low + step - 1
        a, b = x(low - 0.5), x(high + 0.5)
        span = f"{low:,}" if step == 1 else f"{low:,} to {high:,}"
        if count:
            parts.append(
                html(
                    '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                    "<title>{:,} nodes of {} items</title></rect>",
                    a + 0.75,
                    y(count),
                    max(b - a - 1.5, 1),
                    bottom - y(count),
                    count,
                    span,
                )
            )
    for tick in x.ticks(6):
        if tick == int(tick):
            parts.append(_text(x(tick), bottom + 17, tick_text(tick), "tick middle"))
    at = x(even)
    shift, side = (-6, "label even end") if at > width * 0.6 else (6, "label even")
    parts += [
        html(
            '<line class="even" x1="{:.1f}" y1="{}" x2="{:.1f}" y2="{}"/>', at, top - 4, at, bottom
        ),
        _text(at + shift, top + 4, "even share", side),
        _text((left + right) / 2, bottom + 38, "items in a node", "name middle"),
    ]
    return _svg(height, parts, title, width)


# -- parts --------------------------------------------------------------------------------------


def _grid_y(y: Axis, left: float, right: float, name: str, about: int = 6) -> list[str]:
    parts = []
    for tick in y.ticks(about):
        at = y(tick)
        parts.append(
            html(
                '<line class="grid" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>',
                left,
                at,
                right,
                at,
            )
        )
        parts.append(_text(left - 8, at + 4, tick_text(tick), "tick end"))
    middle = (y.start + y.end) / 2
    parts.append(
        html(
            '<text class="name middle" transform="translate(14 {:.1f}) rotate(-90)">{}</text>',
            middle,
            name,
        )
    )
    return parts


def _ticks_x(x: Axis, top: float, bottom: float, text: Callable[[float], str]) -> list[str]:
    parts = []
    for tick in x.ticks():
        at = x(tick)
        parts.append(
            html(
                '<line class="grid" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>',
                at,
                top,
                at,
                bottom,
            )
        )
        parts.append(_text(at, bottom + 18, text(tick), "tick middle"))
    return parts


def marker(x: float, y: float, kind: str, tip: str) -> str:
    """Returns a point; its kind sets its shape as well as its colour."""
    r = 5.5 if kind in ("own", "reference") else 4.5
    shapes = {
        "own": f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z",
        "reference": f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}Z",
        "published": f"M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6Z",
        "control1": f"M{x:.1f} {y - 5.5:.1f}l5.2 9.4h-10.4Z",
        "control2": f"M{x - 4.2:.1f} {y - 4.2:.1f}h8.4v8.4h-8.4Z",
        "control3": f"M{x:.1f} {y + 5.5:.1f}l5.2 -9.4h-10.4Z",
        "control4": f"M{x - 5:.1f} {y - 1.5:.1f}h10v3h-10Z",
        "control6": f"M{x - 4.5:.1f} {y - 3:.1f}l1.5 -1.5 3 3 3 -3 1.5 1.5 -3 3 3 3 -1.5 1.5 -3 -3 "
        "-3 3 -1.5 -1.5 3 -3Z",
        "control5": f"M{x - 1.5:.1f} {y - 5:.1f}h3v10h-3Z",
    }
    usual = f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z"
    return html(
        '<path class="point {}" d="{}"><title>{}</title></path>', kind, shapes.get(kind, usual), tip
    )


def _text(x: float, y: float, text: str, kind: str) -> str:
    return html('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>', kind, x, y, text)


def _svg(height: float, parts: list[str], description: str, width: int = WIDTH) -> str:
    return html(
        '<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}" style="max-width:{}px">{}</svg>',
        width,
        height,
        description,
        width,
        joined(parts),
    )
