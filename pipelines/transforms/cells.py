"""Turns one cell of a table into the value of a feature, or raises the reason why it cannot.

Cells are text (CSV, TSV) or Python values (JSON, Parquet, TFRecord). A reason is short, and the
same for the same mistake, so that reasons can be counted; the offending value is kept apart.
"""

import math
from collections.abc import Sequence
from datetime import date, datetime, timezone
from typing import Any

from pipelines.transforms import cell_forms
from tfrs_twotower import specs
from tfrs_twotower.data.ids import plain_id
from tfrs_twotower.data.lines import breaks_lines
from tfrs_twotower.errors import RecordError
from tfrs_twotower.tables import times

EARLIEST_S = int(datetime(1990, 1, 1, tzinfo=timezone.utc).timestamp())
LATEST_S = times.LATEST_S


class BadCell(RecordError):
    """A cell that cannot be used.

    Attributes:
        reason: what is wrong, without the value.
        value: the offending value.
        column: its column, where only the cell is bad; "" where its whole record is.
    """

    def __init__(self, reason: str, value: Any = None, column: str = "") -> None:
        super().__init__(reason, value, column)
        self.reason = reason
        self.value = value
        self.column = column


def as_text(cell: Any) -> str:
    """Text of an id, category or text; "" if missing. Whole numbers have no decimal point."""
    if isinstance(cell, str):
        return cell
    if cell is None:
        return ""
    if isinstance(cell, int | float):
        return _number_as_text(cell)
    if isinstance(cell, bytes):
        try:
            return cell.decode("utf-8")
        except UnicodeDecodeError:
            raise BadCell("not valid UTF-8") from None
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, list | dict):
        raise BadCell("a list or object where one value is expected", str(cell)[:80])
    return str(cell)


def bare_text(cell: Any) -> str:
    """Text of any cell without blanks around it, as keys and `leave_out` have it."""
    try:
        return as_text(cell).strip()
    except BadCell:
        return str(cell)


def _number_as_text(cell: int | float) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return str(cell)
    if math.isnan(cell):
        return ""
    return str(int(cell)) if cell.is_integer() else repr(cell)


def as_line(cell: Any) -> str:
    """Text of an id or category, which vocabularies and servers keep as one line; "" if missing.

    Raises:
        BadCell: not text, or text with a line break or another control character.
    """
    text = as_text(cell)
    if breaks_lines(text):
        raise BadCell("has a line break or another control character", text)
    return text


def as_id(cell: Any, whole_numbers: bool = False) -> str:
    """The id in a cell, without blanks around it; if asked, as the whole number that it is.

    Raises:
        BadCell: missing, not a whole number, or as in `as_line`.
    """
    text = as_line(cell.strip() if isinstance(cell, str) else cell)
    if not text:
        raise BadCell("missing")
    if whole_numbers:
        plain = plain_id(text)
        if not plain.removeprefix("-").isdecimal():
            raise BadCell("not a whole number", cell)
        return plain
    return text


def as_values(
    cell: Any, separator: str, max_values: int, list_format: str = "text"
) -> tuple[str, ...]:
    """The first values of a list, or of a text in one of the formats of `MultiCategoricalFeature`.

    Empty values are dropped.

    Raises:
        BadCell: not a list in this format, or a value as in `as_line`.
    """
    if isinstance(cell, list | tuple):
        parts: Sequence[Any] = cell
    elif list_format == "text":
        parts = [part.strip() for part in as_text(cell).split(separator)]
    else:
        text = as_text(cell).strip()
        try:
            parts = cell_forms.parse_list(text, list_format) if text else ()  # type: ignore[arg-type]
        except ValueError:
            raise BadCell(f"not a list in the format {list_format}", cell) from None
    return tuple([part for part in map(as_line, parts) if part][:max_values])


def as_number(cell: Any, number_format: str = "plain") -> float:
    """A number that fits float32, in one of the formats of `NumericFeature`; NaN if missing.

    Raises:
        BadCell: not a number, or too large.
    """
    if cell is None:
        return math.nan
    plain = cell
    if isinstance(cell, str):
        if not cell.strip():
            return math.nan
        if "_" in cell:
            raise BadCell("not a number", cell)
        if number_format != "plain":
            try:
                plain = cell_forms.plain_number(cell, number_format)  # type: ignore[arg-type]
            except ValueError as cause:
                raise BadCell(str(cause), cell) from None
    try:
        return times.number_of(plain)
    except ValueError as cause:
        raise BadCell(str(cause), cell) from None


def as_finite(cell: Any) -> float:
    """A number that is neither missing nor infinite.

    Raises:
        BadCell: missing, NaN, infinite or not a number.
    """
    number = as_number(cell)
    if math.isnan(number):
        raise BadCell("missing or NaN", cell)
    return number


def as_calendar_time(cell: Any, unit: str) -> int:
    """The time of a feature in seconds since 1970 (UTC); `MISSING_TIME` if missing.

    Raises:
        BadCell: not a time in this unit, or not of the years 1 to 2099.
    """
    seconds = as_time(cell, unit)
    if seconds is None:
        return specs.MISSING_TIME
    if specs.EARLIEST_TIME <= seconds < LATEST_S:
        return seconds
    beyond = "after 2100" if seconds >= LATEST_S else "before the year 1"
    raise BadCell(f"a time {beyond} in unit {unit}: check unit", cell)


def as_time(cell: Any, unit: str) -> int | None:
    """Seconds since 1970 (UTC), rounded down; None if missing.

    Raises:
        BadCell: not a time in this unit.
    """
    try:
        return times.seconds_of(cell, unit)
    except ValueError as cause:
        raise BadCell(str(cause), cell) from None


def as_event_time(cell: Any, unit: str) -> int:
    """The time of an event, which is between 1990 and 2100.

    Raises:
        BadCell: missing, not a time, or outside the range; the reason suggests the unit that the
            value looks like.
    """
    seconds = as_time(cell, unit)
    if seconds is None:
        raise BadCell("missing", cell)
    if EARLIEST_S <= seconds < LATEST_S:
        return seconds
    raise BadCell(f"outside 1990 to 2100 in unit {unit}{_unit_hint(seconds, unit)}", cell)


def as_moment(cell: Any, unit: str) -> int:
    """The time of an event, or its number where the unit is `order`.

    Raises:
        BadCell: as in `as_event_time`, or not a whole number from 0 to 2^53.
    """
    if unit != "order":
        return as_event_time(cell, unit)
    number = as_finite(cell)
    if not (number.is_integer() and 0 <= number <= 1 << 53):
        raise BadCell("not a whole number from 0 on, as unit: order has them", cell)
    return int(number)


def _unit_hint(seconds: int, unit: str) -> str:
    if unit not in times.PER_SECOND:
        return ""
    for other, name in (("s", "seconds"), ("ms", "milliseconds"), ("us", "microseconds")):
        seconds_in_other = times.in_unit(seconds, unit, other)
        if other != unit and EARLIEST_S <= seconds_in_other < LATEST_S:
            return f": looks like {name}: set unit: {other}"
    return ""
