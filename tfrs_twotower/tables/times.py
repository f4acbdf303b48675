"""Times as tables write them: seconds and their parts since 1970, ISO 8601, and local forms."""

import math
from datetime import date, datetime, timezone
from typing import Any

from tfrs_twotower.tables import local_times

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}
"""The units that are numbers."""
_FORMS = {"iso": "an ISO 8601 time", "dmy": "a time, day first", "mdy": "a time, month first"}
LATEST_S = int(datetime(2100, 1, 1, tzinfo=timezone.utc).timestamp())
"""A later time shows that the unit is wrong."""
_LARGEST = 3.4028235e38
"""That of float32: what is beyond it is a mistake and not a time."""


def seconds_of(cell: Any, unit: str) -> int | None:
    """Seconds since 1970 (UTC), rounded down; None if missing.

    Args:
        cell: text, a number, or a time that a format such as Parquet has.
        unit: `s`, `ms`, `us`, `iso`, `dmy` or `mdy`, as feature specs declare it.

    Raises:
        ValueError: not a time in this unit; the message is short and does not repeat the cell.
    """
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    if isinstance(cell, datetime):
        return _seconds(cell)
    if isinstance(cell, date):
        return _seconds(datetime(cell.year, cell.month, cell.day))
    if unit not in PER_SECOND:
        return _seconds_of_text(cell, unit)
    if isinstance(cell, int) and not isinstance(cell, bool):
        return cell // PER_SECOND[unit]
    try:
        return int(cell) // PER_SECOND[unit]  # exact for integers written as text
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        number = number_of(cell)
    except ValueError:
        raise ValueError(f"not a number of unit {unit}{_order_hint(cell)}") from None
    return None if math.isnan(number) else math.floor(number / PER_SECOND[unit])


def in_unit(seconds: int, unit: str, other: str) -> int:
    """What a number of one unit, taken for seconds by it, would be in seconds by the other."""
    return seconds * PER_SECOND[unit] // PER_SECOND[other]


def _seconds_of_text(cell: Any, unit: str) -> int:
    text = str(cell).strip()
    try:
        if unit != "iso":
            return _seconds(local_times.parse_local_time(text, unit))  # type: ignore[arg-type]
        try:
            return _seconds(datetime.fromisoformat(text.replace("Z", "+00:00", 1)))
        except ValueError:
            return _seconds(local_times.parse_local_time(text, "ymd"))
    except (ValueError, OverflowError):
        raise ValueError(f"not {_FORMS[unit]}{_order_hint(cell)}") from None


def _order_hint(cell: Any) -> str:
    """The unit of a text that is a time in another form."""
    match local_times.date_orders(str(cell)):
        case ("ymd",):
            return ": looks like ISO 8601 text: set unit: iso"
        case (order,):
            return f": looks like a date: set unit: {order}"
        case (_, _):
            return ": looks like a date: set unit: dmy (day first) or mdy (month first)"
    return ""


def typed_seconds(text: str, unit: str = "s") -> int | None:
    """Seconds of a time that a user types: as the table writes it, or as ISO 8601.

    Where the table has text, a whole number is in seconds since 1970, as a server takes it.

    Raises:
        ValueError: it is none of these, or after 2100.
    """
    seconds = None
    others = ("iso",) if unit in PER_SECOND else ("iso", "s")
    for form in (unit, *others):
        try:
            seconds = seconds_of(text, form)
            break
        except ValueError:
            if form == others[-1]:
                raise
    if seconds is not None and seconds >= LATEST_S:
        raise ValueError(f"after 2100 in the unit {unit}, in which the tables write it")
    return seconds


def number_of(cell: Any) -> float:
    """A number that fits float32, or NaN.

    Raises:
        ValueError: it is none; the message is short and does not repeat the cell.
    """
    if isinstance(cell, str) and "_" in cell:  # Python reads 1_000; tables do not mean it
        raise ValueError("not a number")
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("not a number") from None
    if abs(number) > _LARGEST:
        raise ValueError("infinite or beyond float32")
    return number


def _seconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return math.floor(moment.timestamp())
