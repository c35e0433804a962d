"""Which column is the user, the item, the time and the rating: as named, or by common names."""

import difflib
import re
from collections.abc import Mapping, Sequence

ROLES = ("user", "item", "time", "rating")
#: Roles that data may lack.
OPTIONAL = ("time", "rating")
#: The value of an option that leaves an optional column out.
NONE = "none"

_PEOPLE = ("user", "customer", "visitor", "member", "account", "reviewer", "client", "buyer")
_THINGS = (
    *("item", "product", "article", "movie", "film", "book", "business", "track", "song", "artist"),
    *("video", "game", "app", "poi", "venue", "location", "place", "content", "news", "recipe"),
    *("course", "listing", "hotel", "restaurant", "beer", "anime", "post"),
)
_EVENTS = (
    *("order", "ordered", "purchase", "purchased", "event", "review", "reviewed", "rating"),
    *("rated", "checkin", "visit", "visited", "play", "played", "watch", "watched", "view"),
    *("viewed", "invoice", "transaction", "created", "interaction", "click", "clicked"),
)
#: Common names per role in small letters and digits alone. A name in the first set is preferred.
_NAMES = {
    "user": ({"userid"}, {*_PEOPLE, *(f"{name}id" for name in _PEOPLE), "uid", "username"}),
    "item": (
        {"itemid"},
        {*_THINGS, *(f"{name}id" for name in _THINGS)}
        | {"iid", "sku", "asin", "parentasin", "isbn", "stockcode", "productcode"},
    ),
    "time": (
        {"timestamp", "unixreviewtime"},
        {"time", "datetime", "date", "ts", "unixtime", "epoch", "when", "createdat", "createdon"}
        | {f"{name}{end}" for name in _EVENTS for end in ("at", "on", "time", "date")}
        | {"eventtimestamp", "reviewtimestamp"},
    ),
    "rating": (
        {"rating"},
        {"ratings", "stars", "star", "score", "overall", "rate", "ratingvalue", "starrating"}
        | {"reviewrating", "reviewscore", "grade"},
    ),
}


def is_known(name: str) -> bool:
    """Returns whether a name is common for one of the roles."""
    return any(_plain(name) in names for sets in _NAMES.values() for names in sets)


def choose_columns(
    columns: Sequence[str], given: Mapping[str, str | None], where: str, *, named: bool = True
) -> tuple[dict[str, int], list[str]]:
    """Chooses the column of each role.

    Args:
        columns: Names of the columns; for a file without a header their numbers from 1.
        given: Per role the column's name or number (from 1) as the user gave it, "none" for no
            such column, or None to choose by common names.
        where: The source, for messages.
        named: Whether the columns have names; otherwise the first is the user, the second the item.

    Returns:
        The column's position (from 0) per role that the data have, and the roles that were guessed.

    Raises:
        ValueError: If a column is not there, or the user or the item cannot be told.
    """
    chosen, guessed = {}, []
    for role in ROLES:
        if (wish := given.get(role)) is None:
            continue
        if wish != NONE:
            chosen[role] = _position(columns, role, wish, where)
        elif role not in OPTIONAL:
            raise ValueError(f"--{role}={NONE}: every row needs a {role}; {_listed(columns)}")
    if len(set(chosen.values())) < len(chosen):
        one, other = next(
            (a, b) for a in chosen for b in chosen if a < b and chosen[a] == chosen[b]
        )
        raise ValueError(
            f"--{one} and --{other} name one column, {columns[chosen[one]]!r}; {_listed(columns)}"
        )
    taken = set(chosen.values())
    for role in ROLES:
        if given.get(role) is not None:
            continue
        if named:
            found = _by_name(columns, role, taken)
        else:
            found = [position for position in _in_order(role, columns) if position not in taken]
        if len(found) > 1:
            names = ", ".join(columns[position] for position in found)
            out = f", or --{role}={NONE}" if role in OPTIONAL else ""
            raise ValueError(
                f"{where}: several columns may be the {role} ({names}): say --{role}=COLUMN{out}; "
                f"{_listed(columns)}"
            )
        if found:
            chosen[role] = found[0]
            taken.add(found[0])
            guessed.append(role)
        elif role not in OPTIONAL:
            others = " ".join(
                f"[--{other}=COLUMN]" if other in OPTIONAL else f"--{other}=COLUMN"
                for other in ROLES
                if other not in chosen
            )
            raise ValueError(
                f"{where}: no column has a common name for the {role}; say which are which with "
                f"{others}; {_listed(columns)}"
            )
    return chosen, guessed


def _position(columns: Sequence[str], role: str, wish: str, where: str) -> int:
    same = [position for position, name in enumerate(columns) if name == wish]
    if len(same) == 1:
        return same[0]
    if same:
        raise ValueError(
            f"{where}: {len(same)} columns are called {wish!r}; name the {role} by its number, "
            f"--{role}={same[0] + 1} for the first of them"
        )
    if wish.isascii() and wish.isdigit() and 1 <= int(wish) <= len(columns):
        return int(wish) - 1
    near = difflib.get_close_matches(wish, columns, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"--{role}={wish}: {where} has no such column; {hint}{_listed(columns)}")


def _by_name(columns: Sequence[str], role: str, taken: set[int]) -> list[int]:
    """Returns the free columns with a common name of a role; the preferred ones if there are."""
    free = [position for position in range(len(columns)) if position not in taken]
    for names in _NAMES[role]:
        if found := [position for position in free if _plain(columns[position]) in names]:
            return found
    return []


def _in_order(role: str, columns: Sequence[str]) -> list[int]:
    place = {"user": 0, "item": 1}.get(role, len(columns))
    return [place] if place < len(columns) else []


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _listed(columns: Sequence[str]) -> str:
    return f"its columns are {', '.join(map(repr, columns))}"
