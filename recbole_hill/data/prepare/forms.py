"""Public data sets that are recognised by their files, whatever the data set is called here.

One line per form. The converters of splits (LightGCN's) and of labelled logs (KuaiRand's) are
modules of their own, see `recbole_hill.data.prepare.convert`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from recbole_hill.data.prepare.files import SourceFile


@dataclass(frozen=True)
class Form:
    """A public data set's files.

    Attributes:
        name: Its name, for the summary.
        file: Pattern of the file's name; ``.gz`` may follow.
        first_line: Regular expression that the beginning of the file's first line matches.
        roles: Column of each role.
        columns: Names of the columns of a file without a header; () for a file with one.
        separator: What separates the columns; "" if it is to be found out.
    """

    name: str
    file: str
    first_line: str
    roles: dict[str, str]
    columns: tuple[str, ...] = ()
    separator: str = ""

    def fits(self, file: SourceFile) -> bool:
        """Returns whether a file is of this form."""
        if not fnmatch(file.name.lower().removesuffix(".gz"), self.file):
            return False
        first = file.head().split(b"\n", 1)[0].decode("utf-8", "replace").lstrip("\ufeff")
        return re.match(self.first_line, first) is not None


_FOUR = ("user_id", "item_id", "rating", "timestamp")
_OWN = {"user": "user_id", "item": "item_id", "rating": "rating", "time": "timestamp"}
_CHECKINS = ("user_id", "timestamp", "latitude", "longitude", "item_id")
_AMAZON_USER, _ASIN, _STARS = r"A[0-9A-Z]{9,20}", r"[0-9A-Z]{10}", r"[1-5](\.0)?,\d{9,10}\s*$"


def _keys(*names: str) -> str:
    """Returns the expression of a JSON object that has these keys."""
    return r"\s*\{" + "".join(f'(?=.*"{name}"\\s*:)' for name in names)


FORMS = (
    Form("MovieLens 100k", "u.data", r"\d+\t\d+\t\d\t\d+\s*$", _OWN, _FOUR, "\t"),
    Form("MovieLens 1M or 10M", "ratings.dat", r"\d+::\d+::[\d.]+::\d+\s*$", _OWN, _FOUR, "::"),
    Form(
        "MovieLens 20M, 25M, 32M or latest",
        "ratings.csv",
        r"userId,movieId,rating,timestamp\s*$",
        {"user": "userId", "item": "movieId", "rating": "rating", "time": "timestamp"},
    ),
    Form(
        "Amazon reviews of 2014, ratings only",
        "*.csv",
        f"{_AMAZON_USER},{_ASIN},{_STARS}",
        _OWN,
        _FOUR,
        ",",
    ),
    Form(
        "Amazon reviews of 2018, ratings only",
        "*.csv",
        f"{_ASIN},{_AMAZON_USER},{_STARS}",
        _OWN,
        ("item_id", "user_id", "rating", "timestamp"),
        ",",
    ),
    Form(
        "Amazon reviews of 2014 or 2018",
        "*.json*",
        _keys("reviewerID", "asin", "overall", "unixReviewTime"),
        {"user": "reviewerID", "item": "asin", "rating": "overall", "time": "unixReviewTime"},
    ),
    Form(
        "Amazon reviews of 2023",
        "*.json*",
        _keys("user_id", "parent_asin", "rating", "timestamp"),
        {"user": "user_id", "item": "parent_asin", "rating": "rating", "time": "timestamp"},
    ),
    Form(
        "Yelp reviews",
        "*review*.json*",
        _keys("user_id", "business_id", "stars", "date"),
        {"user": "user_id", "item": "business_id", "rating": "stars", "time": "date"},
    ),
    Form(
        "check-ins of Gowalla or Brightkite",
        "loc-*_totalcheckins.txt",
        r"[^\t]+\t\d{4}-\d\d-\d\dT[^\t]+\t[^\t]+\t[^\t]+\t[^\t]+$",
        {"user": "user_id", "item": "item_id", "time": "timestamp"},
        _CHECKINS,
        "\t",
    ),
)


def recognise(files: Sequence[SourceFile]) -> tuple[Form, list[SourceFile]] | None:
    """Returns the first form that a file has, with its files; None if there is none.

    Other files of the folder (a list of titles, a licence) are left out.
    """
    for form in FORMS:
        if found := [file for file in files if form.fits(file)]:
            return form, found
    return None
