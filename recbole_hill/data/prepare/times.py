"""Times as people write them, into seconds since 1970 in UTC; numbers with a decimal comma."""

from itertools import product

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recbole_hill.data.prepare.text import as_text

#: Numbers below each bound are in its unit; seconds, milli-, micro- and nanoseconds.
_UNITS = ((1e11, 1.0, "seconds"), (1e14, 1e-3, "milliseconds"), (1e17, 1e-6, "microseconds"))
_NANOSECONDS = (1e-9, "nanoseconds")
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_COMPACT = r"^(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$"
_DATES = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y"),
    *("%B %d, %Y", "%b %d %Y", "%m %d, %Y", "%d-%b-%y"),
)
_CLOCKS = (
    *("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p"),
    *(", %H:%M", ", %H:%M:%S", ", %I:%M %p", ", %I:%M:%S %p"),
)
_FORMATS = (
    "ISO8601",
    "%a %b %d %H:%M:%S %z %Y",
    "%a %b %d %H:%M:%S %Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S GMT",
    *("".join(parts) for parts in product(_DATES, _CLOCKS)),
)
#: Values that decide on the form; share of them that a form must read.
_TRIED, _ENOUGH = 200, 0.8


class TimeReader:
    """Reads a column of times, block after block, in the form that its first block has.

    Args:
        column: The column's name, for messages.

    Attributes:
        form: What the times are, in words; "" before the first block.
    """

    def __init__(self, column: str):
        self._column = column
        self.form = ""
        self._read = None

    def read(self, values: pa.Array) -> np.ndarray:
        """Returns seconds since 1970, float64, shape (N,); NaN for a time that is unreadable.

        Raises:
            ValueError: If no form fits, or several do (day and month cannot be told).
        """
        if pa.types.is_temporal(values.type):
            self.form = self.form or f"times of type {values.type}"
            stamps = values.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
            return _floats(stamps) / 1e6
        texts = pc.utf8_trim_whitespace(as_text(values))
        if self._read is None and not self._choose(texts):
            return np.full(len(texts), np.nan)
        return self._read(texts)

    def _choose(self, texts: pa.Array) -> bool:
        """Chooses the form; False if no value is there to choose by."""
        texts = texts.filter(pc.not_equal(texts, ""))
        if not len(texts):
            return False
        some = texts.slice(0, _TRIED)
        if _share(pc.match_substring_regex(some, _COMPACT)) >= _ENOUGH:
            return self._is("dates such as 20201231", lambda given: _dates(given, "%Y%m%d"))
        if _share(pc.match_substring_regex(some, _NUMBER)) >= _ENOUGH:
            typical = float(np.nanmedian(np.abs(numbers(some)[0])))
            factor, unit = next((u[1:] for u in _UNITS if typical < u[0]), _NANOSECONDS)
            return self._is(f"numbers, {unit}", lambda given: numbers(given)[0] * factor)
        shares = {form: float(np.isfinite(_dates(some, form)).mean()) for form in _FORMATS}
        best = max(shares.values())
        if best < _ENOUGH:
            shown = ", ".join(repr(value) for value in some.slice(0, 3).to_pylist())
            raise ValueError(
                f"column {self._column!r} holds no times that can be read ({shown}); accepted are "
                f"ISO dates, seconds since 1970 (or milli-, micro-, nanoseconds) and common forms "
                f"such as 31.12.2020 23:59; --time=none leaves the column out"
            )
        forms = [form for form, share in shares.items() if share == best]
        if len(forms) > 1:  # the whole block tells more than its first values
            shares = {form: np.isfinite(_dates(texts, form)).mean() for form in forms}
            forms = [form for form, share in shares.items() if share == max(shares.values())]
        if len({_dates(texts, form).tobytes() for form in forms}) > 1:
            raise ValueError(
                f"column {self._column!r}: day and month cannot be told apart in dates such as "
                f"{some[0].as_py()!r}; write them as 2020-12-31, or leave them out by --time=none"
            )
        return self._is(f"dates, {forms[0]}, in UTC", lambda given: _dates(given, forms[0]))

    def _is(self, form: str, read) -> bool:
        self.form, self._read = form, read
        return True


def numbers(values: pa.Array) -> tuple[np.ndarray, bool]:
    """Returns numbers, float64, NaN for what is none, and whether decimals have a comma."""
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return _floats(values), False
    texts = pc.utf8_trim_whitespace(as_text(values))
    fits = pc.match_substring_regex(texts, _NUMBER)
    with_comma = pc.match_substring_regex(texts, r"^[+-]?\d+,\d+$")
    comma = bool(pc.any(with_comma).as_py())
    if comma:
        texts = pc.if_else(with_comma, pc.replace_substring(texts, ",", "."), texts)
        fits = pc.or_(fits, with_comma)
    return _floats(pc.if_else(fits, texts, None).cast(pa.float64())), comma


def _dates(texts: pa.Array, form: str) -> np.ndarray:
    """Returns seconds of dates in a form of strptime's, NaN where they are not in it."""
    stamps = pd.to_datetime(
        texts.to_numpy(zero_copy_only=False), format=form, utc=True, errors="coerce"
    )
    stamps = stamps.as_unit("us")
    return np.where(stamps.isna(), np.nan, stamps.asi8 / 1e6)


def _share(mask: pa.Array) -> float:
    return pc.sum(mask).as_py() / len(mask)


def _floats(values: pa.Array) -> np.ndarray:
    """Returns an Arrow array as float64, NaN for null."""
    return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
