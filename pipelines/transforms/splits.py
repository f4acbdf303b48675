"""Which split an event belongs to. Plain functions; no Beam.

`temporal`: by the time of the event, or of the first event of its session. `per_query_last`: by its
place among the query's n events, ordered by time (if there is one) and then by source position; a
share f means floor(f n) events, and a query that would keep no training event stays in train.
`given`: by the split column of the interactions, else by that of the queries.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipelines.transforms.cells import BadCell, as_event_time
from tfrs_twotower import specs
from tfrs_twotower.errors import FeatureSpecError

NO_RECORD = "its query has no record, so its split is not known"
_ROUNDING = 1e-9  # 0.29 * 100 is 28.999999999999996


@dataclass(frozen=True)
class Cutoffs:
    """Global times in epoch seconds; the validation window is `[validation_from, test_from)`."""

    validation_from: int
    test_from: int

    def split_at(self, times: Any) -> Any:
        """The splits of events at these times."""
        return np.searchsorted([self.validation_from, self.test_from], times, side="right")


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


def last_counts(split: specs.PerQueryLastSplit, num_events: Any) -> tuple[Any, Any]:
    """Number of validation and of test events of queries; (0, 0) if one stays in train."""
    test, validation = (_share(wanted, num_events) for wanted in (split.test, split.validation))
    is_parted = num_events - test - validation >= 1
    return np.where(is_parted, validation, 0), np.where(is_parted, test, 0)


def _share(wanted: int | float, num_events: Any) -> Any:
    if isinstance(wanted, int):
        return wanted
    return np.floor(wanted * np.asarray(num_events) + _ROUNDING).astype(np.int64)


def split_by_order(split: specs.PerQueryLastSplit, starts: NDArray[np.int64]) -> Any:
    """The split of each event, for events by query and then in the order of (time, position).

    Args:
        split: numbers or shares of the last events.
        starts: where the events of each query begin, and their end: `[num_queries + 1]`.

    Returns:
        `[num_events]` codes of splits.
    """
    number = np.diff(starts)
    validation, test = last_counts(split, number)
    from_end = np.repeat(starts[1:], number) - np.arange(starts[-1])
    test, later = np.repeat(test, number), np.repeat(validation + test, number)
    return np.where(
        from_end <= test, specs.TEST, np.where(from_end <= later, specs.VALIDATION, specs.TRAIN)
    )


def split_by_names(split: specs.GivenSplit, names: pa.Array) -> tuple[Any, list[str]]:
    """The splits that a column names.

    Args:
        split: the names of the splits.
        names: `[num_events]` texts; null where the query of an event has no record.

    Returns:
        `[num_events]` codes of splits, -1 without one, and the reason of each of those.
    """
    known = (split.train, split.validation, split.test)
    found = pc.index_in(names, value_set=pa.array(known, pa.string()))
    codes = np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), np.int64)
    others = names.take(pa.array(np.flatnonzero(codes < 0))).to_pylist()
    allowed = ", ".join(known)
    return codes, [
        NO_RECORD if name is None else f"split '{name}' is none of {allowed}" for name in others
    ]
