"""Finds out whether a column holds times, how they are written, and which order of day and month.

Text in ISO 8601 and other forms of dates shows itself; large integers are times only if they fall
into our days and are not the digits of something else.
"""

import itertools
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, NamedTuple

from pipelines.init_spec import column_names
from pipelines.init_spec.cell_meanings import BARCODES, meaning_of
from pipelines.init_spec.personal_cells import Records
from pipelines.transforms.cells import as_calendar_time, as_event_time, as_moment, as_time
from tfrs_twotower.errors import RecordError
from tfrs_twotower.specs.features import TimeUnit
from tfrs_twotower.tables import local_times

__all__ = ["TimeUnit", "WrittenTimes", "find_times"]

_LEAST_SHARE = 0.95
_NUM_PROBED = 2000
_MOST_DISTINCT = 20_000
_RECENT_S = (1_100_000_000, 2_050_000_000)
"""From 2004 to 2034: a large integer without a telling name is a time only in these years."""
_LEAST_SPAN_S = 14 * 86_400
_ADULT_S = 1_199_145_600
"""The beginning of 2008."""
_SORTED, _UNSORTED = 0.99, 0.97
_FEWEST_OWNERS, _LEAST_COUNTED = 10, 0.9


class WrittenTimes(NamedTuple):
    """How a column writes times."""

    unit: TimeUnit
    either_order: str = ""
    """A cell, if day and month may stand in either order in all of them; else ""."""


def find_times(name: str, present: Sequence[Any]) -> WrittenTimes | None:
    """How a column writes times; None if it does not hold times."""
    probe = present[:_NUM_PROBED]
    if all(isinstance(cell, date) for cell in probe):
        return WrittenTimes("iso")
    if all(isinstance(cell, str) and not cell.strip().lstrip("-").isdecimal() for cell in probe):
        return _of_texts(present)
    return _of_numbers(name, probe)


def are_orders(owners: Sequence[Any], cells: Sequence[Any]) -> bool:
    """Whether a column numbers the events of each owner: 0, 1, 2 or 1, 2, 3, each number once.

    A rating or a quantity repeats within a query, a line of a basket within its customer, and other
    numbers leave gaps, so that nine tenths of the queries with several events are enough.
    """
    numbers: dict[Any, list[int]] = {}
    for owner, cell in zip(owners, cells, strict=True):
        try:
            number = as_moment(cell, "order")
        except RecordError:
            return False
        numbers.setdefault(owner, []).append(number)
    several = [sorted(own) for own in numbers.values() if len(own) > 2]
    counted = sum(own == list(range(own[0], own[0] + len(own))) and own[0] < 2 for own in several)
    return counted >= max(_FEWEST_OWNERS, _LEAST_COUNTED * len(several))


def are_births(name: str, present: Sequence[Any], unit: str, of: Records) -> bool:
    """Whether times are dates of birth: by the name, or, of people, because they are long ago."""
    if column_names.mentions(name, column_names.BIRTH_WORDS):
        return True
    times = []
    for cell in present[:_NUM_PROBED] if of == "people" else ():
        try:
            times.append(as_calendar_time(cell, unit))
        except RecordError:
            continue
    # Nobody became a customer on line before 1995, and grown-ups were born before 2008.
    return bool(times) and min(times) < 788_918_400 and sorted(times)[len(times) // 2] < _ADULT_S


def _of_texts(present: Sequence[str]) -> WrittenTimes | None:
    probe = present[:_NUM_PROBED]
    if _share(probe, lambda cell: as_calendar_time(cell, "iso")) >= _LEAST_SHARE:
        return WrittenTimes("iso")
    if not any(local_times.date_orders(cell) for cell in probe[:20]):
        return None
    distinct = list(dict.fromkeys(present))[:_MOST_DISTINCT]
    orders = [local_times.date_orders(cell) for cell in distinct]
    fits = {order: sum(order in of_cell for of_cell in orders) for order in ("dmy", "mdy")}
    best: TimeUnit = "dmy" if fits["dmy"] >= fits["mdy"] else "mdy"
    if fits[best] < _LEAST_SHARE * len(distinct):
        return None
    if fits["dmy"] != fits["mdy"]:
        return WrittenTimes(best)
    sorted_by = [order for order in fits if _in_order(present, order, _SORTED)]
    if len(sorted_by) == 1 and not _in_order(
        present, "mdy" if sorted_by == ["dmy"] else "dmy", _UNSORTED
    ):
        return WrittenTimes(sorted_by[0])  # type: ignore[arg-type]
    # 05/05/2025 is the same day in both.
    either = (cell for cell, of_cell in zip(distinct, orders, strict=True) if len(of_cell) > 1)
    unlike = (cell for cell in either if as_time(cell, "dmy") != as_time(cell, "mdy"))
    return WrittenTimes("dmy", str(next(unlike, "")))


def _in_order(present: Sequence[str], order: str, least: float) -> bool:
    """Whether the times of the file rise, or fall, from record to record if read in this order."""
    times = []
    for cell in present[:_MOST_DISTINCT]:
        try:
            times.append(as_time(cell, order))
        except RecordError:
            continue
    known = [time for time in times if time is not None]
    steps = [after - before for before, after in itertools.pairwise(known)]
    moves = [step for step in steps if step]
    return bool(moves) and max(sum(s > 0 for s in moves), sum(s < 0 for s in moves)) >= least * len(
        moves
    )


def _of_numbers(name: str, probe: Sequence[Any]) -> WrittenTimes | None:
    named = column_names.mentions(name, column_names.TIME_WORDS)
    as_words = all(isinstance(cell, str | int) and len(str(cell).strip()) == 8 for cell in probe)
    as_words = as_words and all(str(cell)[:2] in ("19", "20") for cell in probe)
    of_days = _share(probe, lambda cell: as_calendar_time(str(cell), "iso")) if as_words else 0.0
    if named and of_days >= _LEAST_SHARE:
        return WrittenTimes("iso")
    if not named and column_names.names_an_id(name):
        return None  # large integers are ids more often than times
    units: tuple[TimeUnit, ...] = ("s", "ms", "us")
    for unit in units:
        if named and _share(probe, lambda cell, u=unit: as_event_time(cell, u)) >= _LEAST_SHARE:  # type: ignore[misc]
            return WrittenTimes(unit)
        if not named and _are_recent(name, probe, unit):
            return WrittenTimes(unit)
    return None


def _are_recent(name: str, probe: Sequence[Any], unit: str) -> bool:
    """Whether integers are times by themselves: all of our days, on many of them, and no codes."""
    try:
        times = [as_event_time(cell, unit) for cell in probe]
    except RecordError:
        return False
    low, high = min(times), max(times)
    recent = _RECENT_S[0] <= low and high <= _RECENT_S[1] and high - low >= _LEAST_SPAN_S
    return recent and meaning_of(name, [str(cell) for cell in probe]) != BARCODES


def _share(cells: Sequence[Any], read: Callable[[Any], object]) -> float:
    good = 0
    for cell in cells:
        try:
            read(cell)
        except RecordError:
            continue
        good += 1
    return good / len(cells)
