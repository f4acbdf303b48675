"""Chooses the split of the events by what it would leave to learn from and to judge by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.init_spec import event_counts, event_patterns
from pipelines.init_spec.event_counts import Events, HeldOut
from tfrs_twotower import specs

ENOUGH_TEST_QUERIES = 500
"""With so many, a difference of a few hundredths is told from chance."""
_LEAST_SPAN_DAYS = 14
_LEAST_RETURNING = 0.3
_SHORT_HISTORY = 10
_SPLITS = (specs.TRAIN, specs.VALIDATION, specs.TEST)
TEMPORAL = ({"test_fraction": 0.1, "validation_fraction": 0.1}, "the latest events")
LONGER_TEST = ({"test_fraction": 0.2, "validation_fraction": 0.1}, "the latest events")
LAST_SHARES = ({"test": 0.2, "validation": 0.1}, "shares of each query's events")
LAST_ONES = ({"test": 1, "validation": 1}, "numbers of each query's events")


@dataclass(frozen=True)
class SplitChoice:
    """A split for the spec, and what it holds out."""

    kind: str
    values: Mapping[str, Any]
    """The split's keys beside its kind."""
    said: str
    """What the first of the values means."""
    reason: str
    held_out: HeldOut
    drift: float | None
    """See `event_patterns.drift`."""
    recency: float | None
    """See `event_patterns.recency`."""
    events_per_query: float
    """Median number of events of a query."""


def choose_split(events: Events) -> SplitChoice:
    """Chooses between the latest events of all and the last events of each query.

    A global cut-off resembles serving, but it tests only queries that return after it, and where
    most queries have all their events close together, hardly any of these has a history.
    """
    if events.num_events < 10 or not events.times.any():
        return _by_query(events, "there are few events with a time")
    span = events.span_days
    if span < _LEAST_SPAN_DAYS:
        return _by_query(events, f"the events span only {span:.1f} days")
    returning = _returning(events)
    seen = (
        f"the events span {span:.0f} days, and {returning:.0%} of the queries in the last tenth "
        "have earlier events"
    )
    if returning < _LEAST_RETURNING:
        return _by_query(events, seen)
    tried = []
    for values, said in (TEMPORAL, LONGER_TEST):
        split = event_counts.latest_events(events, *values.values())
        tried.append(_chosen("temporal", values, said, seen, events, split))
        known = tried[-1].held_out.num_known_test
        if known >= ENOUGH_TEST_QUERIES:
            return tried[-1]
    by_query = _by_query(events, f"{seen}; a split in time leaves {known:,} of them to test")
    if min(by_query.held_out.num_known_test, ENOUGH_TEST_QUERIES) > 2 * known:
        return by_query
    return tried[-1]


def without_times(events: Events, reason: str) -> SplitChoice:
    """The last events of each query, by a column of numbers or in the order of the file."""
    return _by_query(events, reason)


def given_split(
    events: Events, values: Mapping[str, str], split_of_query: Mapping[str, str] | None, reason: str
) -> SplitChoice:
    """The split that a column names, of the events or of the queries.

    Args:
        events: the events.
        values: the column's values for train, validation and test.
        split_of_query: the column's value by the query's id; None if it is of the events.
        reason: why this is the split.
    """
    split: NDArray[np.int8] = events.named_split
    if split_of_query is not None:
        number = dict(zip(values.values(), _SPLITS, strict=True))
        of_query = [number.get(split_of_query.get(one, ""), -1) for one in events.query_ids]
        split = np.array(of_query, np.int8)[events.queries]
    return _chosen("given", values, "", reason, events, split)


def _by_query(events: Events, reason: str) -> SplitChoice:
    """Shares of the events; numbers where a share of a short history would be none."""
    several = events.per_query[events.per_query > 2]
    short = len(several) > 0 and float(np.median(several)) < _SHORT_HISTORY
    values, said = LAST_ONES if short else LAST_SHARES
    split = event_counts.last_of_each_query(events, *values.values())
    return _chosen("per_query_last", values, said, reason, events, split)


def _returning(events: Events) -> float:
    """Share of the queries in the last tenth of the events that have earlier events."""
    cut = events.times[int(events.num_events * 0.9)]
    after = np.unique(events.queries[events.times >= cut])
    return float(np.isin(after, events.queries[events.times < cut]).mean())


def _chosen(
    kind: str,
    values: Mapping[str, Any],
    said: str,
    reason: str,
    events: Events,
    split: NDArray[np.int8],
) -> SplitChoice:
    sizes = events.per_query
    return SplitChoice(
        kind,
        values,
        said,
        reason,
        event_counts.hold_out(events, split),
        event_patterns.drift(events, split),
        event_patterns.recency(events, split),
        float(np.median(sizes)) if len(sizes) else 0.0,
    )
