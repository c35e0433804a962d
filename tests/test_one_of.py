"""A setting's value among a few words."""

import pytest

from recbole_hill.checks import one_of


@pytest.mark.parametrize("accepted", [("late", "early"), {"late": 1, "early": 2}])
def test_an_accepted_value_is_returned(accepted):
    assert one_of("merge", "early", accepted) == "early"


@pytest.mark.parametrize("accepted", [("late", "early"), {"late": 1, "early": 2}])
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("never", "'never'"),
        ("Late", "'Late'"),
        ("", "''"),
        ("late, early", "'late, early'"),
        (None, "None"),
        (True, "True"),
        (0, "0"),
        (["late"], r"\['late'\]"),
        ({"late": 1}, r"\{'late': 1\}"),
    ],
)
def test_any_other_is_named(value, shown, accepted):
    with pytest.raises(ValueError, match=f"^merge must be one of late, early, got {shown}$"):
        one_of("merge", value, accepted)
