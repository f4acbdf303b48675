import math
from datetime import datetime, timezone

import pytest

from pipelines.transforms.cells import (
    BadCell,
    as_calendar_time,
    as_event_time,
    as_finite,
    as_id,
    as_line,
    as_moment,
    as_number,
    as_text,
    as_time,
    as_values,
)
from tfrs_twotower.specs import MISSING_TIME


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


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\r\nb", "a\x85b", "a\u2028b", "a\0", "\x1b[1m"])
def test_ids_categories_and_values_fit_on_a_line(bad):
    assert as_line(" tab\tbed ") == " tab\tbed "
    for read in (as_line, as_id, lambda cell: as_values([cell], "|", 8)):
        with pytest.raises(BadCell, match="a line break or another control character") as caught:
            read(f"x{bad}y")
        assert caught.value.value == f"x{bad}y"
    assert as_values("a\nb", "\n", 8) == ("a", "b")  # where it is the separator


def test_an_id_has_no_blanks_around_it():
    assert as_id(" a b\n") == "a b"
    for missing in ("", "  ", None, math.nan):
        with pytest.raises(BadCell, match="missing"):
            as_id(missing)


def test_ids_that_are_whole_numbers():
    for written in ("2", "2.0", "002", 2, 2.0, " 2 "):
        assert as_id(written, whole_numbers=True) == "2"
    assert as_id("1e+05", whole_numbers=True) == "100000"
    for other in ("2.5", "sku-2", "1e-3"):
        with pytest.raises(BadCell, match="not a whole number"):
            as_id(other, whole_numbers=True)


def test_values_are_split_and_cut():
    assert as_values("Drama| Comedy||War", "|", 2) == ("Drama", "Comedy")
    assert as_values(["a", None, 3], "|", 8) == ("a", "3")
    assert as_values(None, "|", 8) == ()
    assert as_values('["a", null, 3]', "|", 8, "json") == ("a", "3")
    assert as_values("{a,b}", "|", 1, "postgres") == ("a",)
    assert as_values("", "|", 8, "json") == ()
    assert as_values(["a"], "|", 8, "python") == ("a",)
    with pytest.raises(BadCell, match="not a list in the format json"):
        as_values("{a,b}", "|", 8, "json")


def test_numbers():
    assert as_number("1e3") == 1000.0
    assert math.isnan(as_number(""))
    assert math.isnan(as_number("nan"))
    for bad in ("V", "1_000", [1]):
        with pytest.raises(BadCell, match="not a number"):
            as_number(bad)
    assert as_number("1.234,5 €", "comma") == as_number("$1,234.5", "point") == 1234.5
    assert as_number(5.5, "comma") == 5.5
    with pytest.raises(BadCell, match="not a number with a decimal comma"):
        as_number("1,234.5", "comma")
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


@pytest.mark.parametrize("cell", [0, 7, "7", "7.0", 2.0, 1 << 53])
def test_numbers_of_an_order(cell):
    assert as_moment(cell, "order") == int(float(cell))
    assert as_moment("874724710", "s") == 874724710


@pytest.mark.parametrize("cell", [-1, "1.5", (1 << 53) + 2, None, "first"])
def test_what_no_order_is_counted_by(cell):
    with pytest.raises(BadCell, match=r"not a whole number from 0 on|missing|not a number"):
        as_moment(cell, "order")


@pytest.mark.parametrize(
    ("cell", "unit", "moment"),
    [
        ("1950-03-01", "iso", datetime(1950, 3, 1)),
        (-1, "s", datetime(1969, 12, 31, 23, 59, 59)),
        ("-1", "ms", datetime(1969, 12, 31, 23, 59, 59)),
        ("0001-01-01", "iso", datetime(1, 1, 1)),
        (datetime(1066, 10, 14), "iso", datetime(1066, 10, 14)),
    ],
)
def test_a_date_may_be_before_1970(cell, unit, moment):
    expected = (moment - datetime(1970, 1, 1)).total_seconds()
    assert as_calendar_time(cell, unit) == expected > MISSING_TIME


def test_a_date_of_no_calendar():
    assert as_calendar_time("", "iso") == MISSING_TIME
    with pytest.raises(BadCell, match="a time before the year 1 in unit s: check unit"):
        as_calendar_time(MISSING_TIME, "s")
    with pytest.raises(BadCell, match="a time after 2100 in unit s: check unit"):
        as_calendar_time(1_300_000_000_000, "s")


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
