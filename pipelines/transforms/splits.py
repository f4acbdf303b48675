"""Which split an event belongs to. Plain functions; no Beam.

`temporal`: by the time of the event, or of the first event of its session. `per_query_last`: by its
place among the query's n events, ordered by time (if there is one) and then by source position; a
share f means floor(f n) events, and a query that would keep no training event stays in train.
`given`: by the split column of the interactions, else by that of the queries.
"""

import math
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from pipelines.transforms.cells import BadCell, as_event_time
from tfrs_twotower import specs
from tfrs_twotower.errors import FeatureSpecError

_ROUNDING = 1e-9  # 0.29 * 100 is 28.999999999999996


@dataclass(frozen=True)
class Cutoffs:
    """Global times in epoch seconds; the validation window is `[validation_from, test_from)`."""

    validation_from: int
    test_from: int

    def split_at(self, time: int) -> int:
        """The split of an event at this time."""
        if time < self.validation_from:
            return specs.TRAIN
        return specs.VALIDATION if time < self.test_from else specs.TEST


def given_cutoffs(split: specs.TemporalSplit) -> Cutoffs | None:
    """The cut-offs that a spec states as ISO times; None if it states shares.

    Raises:
        FeatureSpecError: a time cannot be read, or they are in the wrong order.
    """
    if split.validation_from is None or split.test_from is None:
        return None
    times = []
    for key, text in (("validation_from", split.validation_from), ("test_from", split.test_from)):
        try:
            times.append(as_event_time(text, "iso"))
        except BadCell as bad:
            raise FeatureSpecError(
                f"split.{key}: found '{text}', {bad.reason}; expected a time such as "
                "2011-09-30T00:00:00."
            ) from None
    if times[0] > times[1]:
        raise FeatureSpecError(
            f"split: validation_from {split.validation_from} is after test_from "
            f"{split.test_from}; validation comes before test."
        )
    return Cutoffs(*times)


def last_counts(split: specs.PerQueryLastSplit, num_events: int) -> tuple[int, int]:
    """Number of validation and of test events of a query; (0, 0) if it stays in train."""
    test = _share(split.test, num_events)
    validation = _share(split.validation, num_events)
    if num_events - test - validation < 1:
        return 0, 0
    return validation, test


def _share(wanted: int | float, num_events: int) -> int:
    if isinstance(wanted, int):
        return wanted
    return math.floor(wanted * num_events + _ROUNDING)


def split_by_order(
    split: specs.PerQueryLastSplit, order: Iterable[tuple[int, int]]
) -> Callable[[int, int], int]:
    """Makes the function from an event's (timestamp, position) to its split, for one query.

    Args:
        split: numbers or shares of the last events.
        order: (timestamp, position) of all events of the query; takes 16 bytes for each.
    """
    times, positions = array("q"), array("q")
    for time, position in order:
        times.append(time)
        positions.append(position)
    num_events = len(times)
    validation, test = last_counts(split, num_events)
    by_time = np.lexsort((np.frombuffer(positions, np.int64), np.frombuffer(times, np.int64)))

    def key_at(rank: int) -> tuple[float, int]:
        if rank >= num_events:
            return math.inf, 0
        return times[by_time[rank]], positions[by_time[rank]]

    first_validation = key_at(num_events - test - validation)
    first_test = key_at(num_events - test)

    def split_of(time: int, position: int) -> int:
        if (time, position) < first_validation:
            return specs.TRAIN
        return specs.VALIDATION if (time, position) < first_test else specs.TEST

    return split_of


def split_by_name(split: specs.GivenSplit, name: str) -> int | None:
    """The split that a column's value names; None if it is not the name of a split."""
    names = (split.train, split.validation, split.test)
    return names.index(name) if name in names else None
