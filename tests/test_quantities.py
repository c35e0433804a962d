"""Durations and sizes as people write them."""

import pytest

from recbole_hill.config.units import duration, parse_duration, parse_mebibytes


@pytest.mark.parametrize(
    ("text", "seconds"), [(90, 90), ("90s", 90), ("1.5m", 90), ("2H", 7200), ("1 d", 86400)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["2 hours", "0", "-3m", "", "h", "2g"])
def test_durations_that_are_none(text):
    with pytest.raises(ValueError, match=f"^time_budget must be like 90s, .* or 1d, got '{text}'"):
        parse_duration(text)


def test_sizes():
    assert parse_mebibytes("1.5g") == 1536 and parse_mebibytes("500m") == 500
    for text in ("16", "16t", "0g"):
        with pytest.raises(ValueError, match=f"memory must be like 16g or 500m, got '{text}'"):
            parse_mebibytes(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (90, "2 min"), (3600 * 2 + 300, "2 h 5 min"), (90_000, "1 d 1 h")],
)
def test_as_people_say_them(seconds, text):
    assert duration(seconds) == text
