import math
from datetime import datetime, timezone

import pytest

from pipelines.transforms.cells import (
    BadCell,
    as_event_time,
    as_finite,
    as_number,
    as_text,
    as_time,
    as_values,
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("a", "a"),
        (None, ""),
        (12, "12"),
        (12.0, "12"),
        (1.5, "1.5"),
        (math.nan, ""),
        (True, "true"),
        (b"caf\xc3\xa9", "café"),
        (2**53 + 1, "9007199254740993"),
    ],
)
def test_text(cell, text):
    assert as_text(cell) == text


def test_text_that_is_none():
    with pytest.raises(BadCell, match="not valid UTF-8"):
        as_text(b"\xff")
    with pytest.raises(BadCell, match="a list or object"):
        as_text(["a"])


def test_values_are_split_and_cut():
    assert as_values("Drama| Comedy||War", "|", 2) == ("Drama", "Comedy")
    assert as_values(["a", None, 3], "|", 8) == ("a", "3")
    assert as_values(None, "|", 8) == ()


def test_numbers():
    assert as_number("1e3") == 1000.0
    assert math.isnan(as_number(""))
    assert math.isnan(as_number("nan"))
    for bad in ("V", "1_000", [1]):
        with pytest.raises(BadCell, match="not a number"):
            as_number(bad)
    for bad in ("inf", 1e300):
        with pytest.raises(BadCell, match="infinite or beyond float32"):
            as_number(bad)
    for bad in (None, "NaN"):
        with pytest.raises(BadCell, match="missing or NaN"):
            as_finite(bad)


@pytest.mark.parametrize(
    ("cell", "unit"),
    [
        ("874724710", "s"),
        (874724710, "s"),
        ("874724710.9", "s"),
        ("8.7472471e8", "s"),
        (874724710123, "ms"),
        ("874724710123456", "us"),
        ("1997-09-20T03:05:10Z", "iso"),
        ("1997-09-20 05:05:10+02:00", "iso"),
        ("1997-09-20T03:05:10", "iso"),
        (datetime(1997, 9, 20, 3, 5, 10), "s"),
        (datetime(1997, 9, 20, 3, 5, 10, tzinfo=timezone.utc), "ms"),
    ],
)
def test_times(cell, unit):
    assert as_event_time(cell, unit) == 874724710


def test_a_missing_time():
    assert as_time("", "s") is None
    with pytest.raises(BadCell, match="missing"):
        as_event_time(None, "s")


@pytest.mark.parametrize(
    ("cell", "unit", "hint"),
    [
        (1_300_000_000_000, "s", "looks like milliseconds: set unit: ms"),
        (1_300_000_000_000_000, "s", "looks like microseconds: set unit: us"),
        (1_300_000_000, "ms", "looks like seconds: set unit: s"),
        ("2011-01-01T00:00:00", "s", "looks like ISO 8601 text: set unit: iso"),
    ],
)
def test_a_wrong_unit_is_suggested(cell, unit, hint):
    with pytest.raises(BadCell, match=hint):
        as_event_time(cell, unit)
