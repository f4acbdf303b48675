"""Times as tables and users write them; the cells of tables are tested with their reasons."""

import pytest

from tfrs_twotower.tables.times import seconds_of, typed_seconds

NOON_S = 1_780_315_200  # 2026-06-01T12:00:00 UTC


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        (str(NOON_S), "s"),
        (f"{NOON_S}.9", "s"),
        (f"{NOON_S}000", "ms"),
        (f"{NOON_S}000000", "us"),
        ("2026-06-01T12:00:00", "iso"),
        ("2026-06-01 14:00:00+02:00", "iso"),
        ("2026-06-01T12:00Z", "s"),
        ("2026-06-01T12:00:00", "ms"),
        (str(NOON_S), "iso"),
    ],
)
def test_a_time_is_typed_as_the_table_or_iso_8601_writes_it(text, unit):
    assert typed_seconds(text, unit) == NOON_S


def test_a_date_is_its_midnight():
    assert typed_seconds("2026-06-01") == NOON_S - 12 * 3600


@pytest.mark.parametrize(
    ("text", "unit", "reason"),
    [
        ("yesterday", "s", "not an ISO 8601 time"),
        ("yesterday", "iso", "not a number of unit s"),
        (f"{NOON_S}000", "s", "after 2100 in the unit s"),
    ],
)
def test_what_is_no_time(text, unit, reason):
    with pytest.raises(ValueError, match=reason):
        typed_seconds(text, unit)


def test_a_missing_time():
    assert typed_seconds(" ", "iso") is None
    assert seconds_of(None, "s") is None
    assert seconds_of("nan", "s") is None
