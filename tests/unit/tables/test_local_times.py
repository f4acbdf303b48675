import re
from datetime import datetime, timedelta, timezone

import pytest

from pipelines.transforms.cells import BadCell, as_event_time
from tfrs_twotower.tables.local_times import date_orders, parse_local_time

NEW_YEARS_EVE = datetime(2025, 12, 31)
AFTERNOON = datetime(2025, 12, 31, 14, 5)


@pytest.mark.parametrize(
    ("text", "order", "moment"),
    [
        ("31.12.2025", "dmy", NEW_YEARS_EVE),
        ("31.12.25", "dmy", NEW_YEARS_EVE),
        ("31. 12. 2025", "dmy", NEW_YEARS_EVE),
        ("31.12.2025 14:05", "dmy", AFTERNOON),
        ("31.12.2025, 14:05:00 Uhr", "dmy", AFTERNOON),
        ("31/12/2025 14h05", "dmy", AFTERNOON),
        ("31-Dec-2025 02:05 PM", "dmy", AFTERNOON),
        ("31. Dezember 2025 um 14:05 Uhr", "dmy", AFTERNOON),
        ("31 décembre 2025", "dmy", NEW_YEARS_EVE),
        ("31 de diciembre de 2025", "dmy", NEW_YEARS_EVE),
        ("Wed, 31 Dec 2025 14:05:00 GMT", "dmy", AFTERNOON.replace(tzinfo=timezone.utc)),
        ("1er mai 2025", "dmy", datetime(2025, 5, 1)),
        ("3. März 2025", "dmy", datetime(2025, 3, 3)),
        ("12/31/2025", "mdy", NEW_YEARS_EVE),
        ("12/31/2025 2:05 PM", "mdy", AFTERNOON),
        ("12/31/25, 2:05:00 p.m.", "mdy", AFTERNOON),
        ("Dec 31, 2025, 2:05:00 PM", "mdy", AFTERNOON),
        ("12/31/2025 12:00 AM", "mdy", NEW_YEARS_EVE),
        ("12/31/2025 12:00 PM", "mdy", NEW_YEARS_EVE + timedelta(hours=12)),
        ("2025/12/31 14:05", "ymd", AFTERNOON),
        ("20251231", "ymd", NEW_YEARS_EVE),
        (
            "2025-12-31 14:05:00 -0500",
            "ymd",
            AFTERNOON.replace(tzinfo=timezone(timedelta(hours=-5))),
        ),
        ("2025-12-31 14:05:00 UTC", "ymd", AFTERNOON.replace(tzinfo=timezone.utc)),
    ],
)
def test_a_local_time_is_read_in_its_order_and_in_no_other(text, order, moment):
    assert parse_local_time(text, order) == moment
    assert date_orders(text) == (order,)


@pytest.mark.parametrize(
    "text",
    ["31.13.2025", "31.02.2025", "31.12.2025 24:00", "31.12.2025 14", "12/31/2025 13:00 PM", "1.2",
     "10.0.0.1", "978-3-16-148410-0", "0171-1234567", "31.12-2025", "31.12.2025 x", "", "1,299.00",
     "31 foo 2025", "31.12.20255"],
)  # fmt: skip
def test_what_is_wholly_no_time_is_refused(text):
    assert date_orders(text) == ()


def test_either_order_may_fit():
    assert date_orders("03/04/2025") == ("dmy", "mdy")
    assert date_orders("03.04.2025") == ("dmy",)  # nobody puts the month first between points


def test_units_of_events():
    seconds = int(AFTERNOON.replace(tzinfo=timezone.utc).timestamp())
    assert as_event_time("31.12.2025 14:05", "dmy") == seconds
    assert as_event_time("12/31/2025 2:05 PM", "mdy") == seconds
    assert as_event_time("2025-12-31 15:05:00 +0100", "iso") == seconds
    assert as_event_time("2025/12/31 14:05", "iso") == seconds


@pytest.mark.parametrize(
    ("cell", "unit", "reason"),
    [
        ("31.12.2025", "s", "not a number of unit s: looks like a date: set unit: dmy"),
        ("31.12.2025", "mdy", "not a time, month first: looks like a date: set unit: dmy"),
        ("12/31/2025", "iso", "not an ISO 8601 time: looks like a date: set unit: mdy"),
        ("01/02/2025", "iso", r"set unit: dmy \(day first\) or mdy \(month first\)"),
        ("2025-12-31", "dmy", "not a time, day first: looks like ISO 8601 text: set unit: iso"),
        ("soon", "dmy", "not a time, day first$"),
        ("31.12.0000", "dmy", "not a time, day first$"),
    ],
)
def test_the_reason_names_the_unit_that_would_read_it(cell, unit, reason):
    with pytest.raises(BadCell) as caught:
        as_event_time(cell, unit)
    assert re.search(reason, caught.value.reason)
