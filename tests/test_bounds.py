"""A setting's value among the numbers that it may be."""

import pytest

from recbole_hill.checks import integer, positive


@pytest.mark.parametrize(
    ("check", "values"),
    [(integer, (1, 7)), (positive, (1e-9, 3))],
)
def test_an_accepted_value_is_returned(check, values):
    assert [check("key", value) for value in values] == list(values)


def test_the_least_integer_is_the_callers():
    assert integer("key", 0, least=0) == 0
    with pytest.raises(ValueError, match=r"^key must be an integer >= 3, got 2$"):
        integer("key", 2, least=3)


@pytest.mark.parametrize(
    ("check", "accepted", "values"),
    [
        (integer, "an integer >= 1", (0, -1, 1.0, 1.5)),
        (positive, "a number above 0", (0, -1)),
    ],
)
def test_any_other_is_named(check, accepted, values):
    for value in (*values, "1", None, True, [1], float("nan")):
        with pytest.raises(ValueError, match=f"^key must be {accepted}, got ") as raised:
            check("key", value)
        assert str(raised.value).endswith(f"got {value!r}")
