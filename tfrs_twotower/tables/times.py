"""Times as tables write them: seconds and their parts since 1970, and ISO 8601. Plain functions."""

import math
from datetime import date, datetime, timezone
from typing import Any

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000}
LATEST_S = int(datetime(2100, 1, 1, tzinfo=timezone.utc).timestamp())
"""A later time shows that the unit is wrong."""
_LARGEST = 3.4028235e38
"""That of float32: what is beyond it is a mistake and not a time."""


def seconds_of(cell: Any, unit: str) -> int | None:
    """Seconds since 1970 (UTC), rounded down; None if missing.

    Args:
        cell: text, a number, or a time that a format such as Parquet has.
        unit: `s`, `ms`, `us` or `iso`, as feature specs declare it.

    Raises:
        ValueError: not a time in this unit; the message is short and does not repeat the cell.
    """
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return None
    if isinstance(cell, datetime):
        return _seconds(cell)
    if isinstance(cell, date):
        return _seconds(datetime(cell.year, cell.month, cell.day))
    if unit == "iso":
        return seconds_of_iso(cell)
    if isinstance(cell, int) and not isinstance(cell, bool):
        return cell // _PER_SECOND[unit]
    try:
        return int(cell) // _PER_SECOND[unit]  # exact for integers written as text
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        number = _number(cell)
    except (TypeError, ValueError, OverflowError):
        hint = ": looks like ISO 8601 text: set unit: iso" if _is_iso(cell) else ""
        raise ValueError(f"not a number of unit {unit}{hint}") from None
    return None if math.isnan(number) else math.floor(number / _PER_SECOND[unit])


def in_unit(seconds: int, unit: str, other: str) -> int:
    """What a number of one unit, taken for seconds by it, would be in seconds by the other."""
    return seconds * _PER_SECOND[unit] // _PER_SECOND[other]


def seconds_of_iso(cell: Any) -> int:
    """Seconds of an ISO 8601 text, in UTC where it names no zone.

    Raises:
        ValueError: it is not one.
    """
    text = str(cell).strip()
    try:
        return _seconds(datetime.fromisoformat(text.replace("Z", "+00:00", 1)))
    except ValueError:
        raise ValueError("not an ISO 8601 time") from None


def typed_seconds(text: str, unit: str = "s") -> int | None:
    """Seconds of a time that a user types: as the table writes it, or as ISO 8601.

    Where the table has ISO 8601, a whole number is in seconds since 1970, as a server takes it.

    Raises:
        ValueError: it is none of these, or after 2100.
    """
    try:
        seconds = seconds_of(text, unit)
    except ValueError:
        seconds = seconds_of(text, "s") if unit == "iso" else seconds_of_iso(text)
    if seconds is not None and seconds >= LATEST_S:
        raise ValueError(f"after 2100 in the unit {unit}, in which the tables write it")
    return seconds


def _number(cell: Any) -> float:
    if isinstance(cell, str) and "_" in cell:
        raise ValueError("not a number")
    number = float(cell)
    if abs(number) > _LARGEST:
        raise ValueError("infinite or beyond float32")
    return number


def _is_iso(cell: Any) -> bool:
    try:
        seconds_of_iso(cell)
    except ValueError:
        return False
    return True


def _seconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return math.floor(moment.timestamp())
