"""Columns of any type as text: ids stay as they were written."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def as_text(values: pa.Array) -> pa.Array:
    """Returns a column's values as strings; a missing value is "".

    Whole numbers in a column of decimals are written as whole numbers: 1.0 becomes "1", because a
    column of whole numbers becomes one of decimals as soon as a value is missing.

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
        numbers = pc.if_else(pc.is_finite(values), values, None)
        whole = numbers.to_numpy(zero_copy_only=False)
        whole = whole[~np.isnan(whole)]
        if np.array_equal(whole, np.trunc(whole)) and (np.abs(whole) < 2**63).all():
            values = numbers.cast(pa.int64())
    return pc.fill_null(values.cast(pa.string()), "")
