"""What interactions look like: counts, quantiles, the range of times, a picture of the density."""

from datetime import datetime, timezone

import numpy as np

#: Shades from no rows to the most, and what stands for them where a terminal has no blocks.
SHADES, ASCII = " ░▒▓█", " .:*#"
_HEIGHT, _WIDTH = 8, 48
_QUANTILES = (0, 0.25, 0.5, 0.75, 1)


def describe(users: np.ndarray, items: np.ndarray, times: np.ndarray | None) -> str:
    """Returns the statistics and the picture of interactions, several lines.

    Args:
        users: User of each row, numbered from 0 without gaps, shape (E,).
        items: Item of each row, likewise, shape (E,).
        times: Seconds since 1970 of each row, shape (E,), or None.
    """
    by_user, by_item = np.bincount(users), np.bincount(items)
    density = len(users) / (len(by_user) * len(by_item))
    lines = [
        f"{len(by_user):,} users, {len(by_item):,} items, {len(users):,} rows, "
        f"density {density:.3%}",
        f"rows per user: {_quantiles(by_user)}",
        f"rows per item: {_quantiles(by_item)}",
    ]
    if times is not None:
        lines.append(f"time: {_day(times.min())} to {_day(times.max())}, in UTC")
    lines.append("users (down) by items (across), the most active first; darker is denser:")
    return "\n".join([*lines, *picture(users, items)])


def picture(users: np.ndarray, items: np.ndarray) -> list[str]:
    """Returns the density of rows over users and items as lines of shades.

    Users and items stand in the order of their numbers of rows, and are cut into equal parts. A
    part's shade is the logarithm of its density, from the least density that is not 0.

    Args:
        users: User of each row, numbered from 0 without gaps, shape (E,).
        items: Item of each row, likewise, shape (E,).
    """
    cells, sizes = [], []
    for ids, most in ((users, _HEIGHT), (items, _WIDTH)):
        counts = np.bincount(ids)
        n_parts = min(most, len(counts))
        rank = np.empty(len(counts), dtype=np.int64)
        rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
        part = rank * n_parts // len(counts)
        cells.append(part[ids])
        sizes.append(np.bincount(part))
    rows = np.zeros((len(sizes[0]), len(sizes[1])))
    np.add.at(rows, tuple(cells), 1)
    density = rows / np.outer(*sizes)
    full = density > 0
    logs = np.log(density, where=full, out=np.zeros_like(density))
    least, most = logs[full].min(), logs[full].max()
    steps = (logs - least) / (most - least) if most > least else np.ones_like(logs)
    shade = np.where(full, 1 + np.minimum((steps * 4).astype(int), 3), 0)
    return ["|" + "".join(SHADES[number] for number in line) + "|" for line in shade]


def in_ascii(text: str) -> str:
    """Returns a text with ASCII characters in the place of the shades."""
    return text.translate(str.maketrans(SHADES, ASCII))


def _quantiles(counts: np.ndarray) -> str:
    least, low, middle, high, most = np.quantile(counts, _QUANTILES, method="nearest")
    return (
        f"{least:,.0f} to {most:,.0f}, half of them {low:,.0f} to {high:,.0f}, median {middle:,.0f}"
    )


def _day(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(float(seconds), timezone.utc).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"
