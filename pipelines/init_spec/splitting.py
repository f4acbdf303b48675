"""Which split the times of the events allow."""

from collections.abc import Sequence
from typing import Any

from pipelines.transforms.cells import as_event_time, as_text
from tfrs_twotower.errors import RecordError

_LEAST_SPAN_DAYS = 14
_LEAST_RETURNING = 0.3
_TEST_SHARE = 0.1
_DAY_S = 86_400


def event_times(cells: Sequence[Any], unit: str) -> list[int | None]:
    """Seconds since 1970 of each event; None where the cell is no time."""
    times: list[int | None] = []
    for cell in cells:
        try:
            times.append(as_event_time(cell, unit))
        except RecordError:
            times.append(None)
    return times


def choose_split(times: Sequence[int | None], query_ids: Sequence[Any]) -> tuple[str, str]:
    """`temporal` or `per_query_last`, and why.

    A global cut-off is what serving is like, but it tests only queries that come back: where
    nearly everybody's events lie together, it would leave no one with a history.
    """
    events = sorted(
        (time, as_text(query)) for time, query in zip(times, query_ids, strict=True) if time
    )
    if len(events) < 10:
        return "per_query_last", "there are few events with a time"
    span_days = (events[-1][0] - events[0][0]) / _DAY_S
    if span_days < _LEAST_SPAN_DAYS:
        return "per_query_last", f"the sampled events span only {span_days:.1f} days"
    cut = events[int(len(events) * (1 - _TEST_SHARE))][0]
    before = {query for time, query in events if time < cut}
    after = {query for time, query in events if time >= cut}
    returning = len(after & before) / len(after)
    found = (
        f"the sampled events span {span_days:.0f} days, and {returning:.0%} of the queries in the "
        "last tenth have earlier events"
    )
    return ("temporal" if returning >= _LEAST_RETURNING else "per_query_last"), found
