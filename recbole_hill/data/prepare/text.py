"""Columns of any type as text: ids stay as they were written."""

import pyarrow as pa
import pyarrow.compute as pc


def as_text(values: pa.Array) -> pa.Array:
    """Returns a column's values as strings; a missing value is "".

    A whole number in a column of decimals is written as one: 1.0 becomes "1", because a column of
    whole numbers becomes one of decimals as soon as a value is missing.

    Args:
        values: Strings, numbers or dates, shape (N,).

    Raises:
        ValueError: If the values are lists or records.
    """
    if pa.types.is_nested(values.type):
        raise ValueError(f"a column of {values.type} cannot be an id, a time or a rating")
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_finite(values), values, None)
        whole = pc.and_(pc.equal(values, pc.trunc(values)), pc.less(pc.abs(values), 2.0**63))
        numbers = pc.if_else(whole, values, None).cast(pa.int64()).cast(pa.string())
        values = pc.coalesce(numbers, values.cast(pa.string()))
    return pc.fill_null(values.cast(pa.string()), "")
