"""Counts the events of a whole table, and what a split of them would hold out.

A sample of the first records says what columns mean. How much there is to learn from, and whether a
split leaves enough to judge by, only the whole table says: files are often sorted by time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.init_spec import samples
from pipelines.transforms.cells import as_moment, as_number, as_text
from tfrs_twotower import specs
from tfrs_twotower.errors import RecordError

MOST_COUNTED = 3_000_000
"""Events that are counted; of a larger table the first ones stand for all."""
DAY_S = 86_400


@dataclass(frozen=True)
class EventColumns:
    """The columns of the interactions that are counted; None where there is none."""

    query: str
    candidate: str
    time: str | None = None
    time_unit: str | None = None
    label: str | None = None
    smallest_positive: float | None = None
    split: str | None = None
    split_values: Mapping[str, str] | None = None
    """The split column's values for train, validation and test, by the names of the splits."""
    left_out: Mapping[str, Sequence[str]] | None = None
    """Values whose events are not read, by column."""


@dataclass(frozen=True)
class Events:
    """Events as numbers, in the order of time and then of the file."""

    queries: NDArray[np.int64]
    """`[num_events]` number of the query."""
    candidates: NDArray[np.int64]
    """`[num_events]` number of the candidate."""
    times: NDArray[np.int64]
    """`[num_events]` seconds since 1970, or numbers of an order; all 0 without such a column."""
    positive: NDArray[np.bool_]
    """`[num_events]` whether the event counts as positive."""
    named_split: NDArray[np.int8]
    """`[num_events]` the split that a column of the events names, -1 for none."""
    query_ids: tuple[str, ...]
    """The queries' ids by their numbers."""
    complete: bool = True
    """Whether these are all events of the table."""

    @property
    def num_events(self) -> int:
        """Number of events."""
        return len(self.queries)

    @cached_property
    def first_of_pair(self) -> NDArray[np.bool_]:
        """`[num_events]` whether the query had nothing to do with the candidate before."""
        pairs = self.queries * (int(self.candidates.max(initial=0)) + 1) + self.candidates
        first = np.zeros(self.num_events, bool)
        first[np.unique(pairs, return_index=True)[1]] = True
        return first

    @cached_property
    def per_query(self) -> NDArray[np.int64]:
        """`[num_queries]` events of each query."""
        return np.bincount(self.queries)

    @cached_property
    def candidates_per_query(self) -> NDArray[np.int64]:
        """`[num_queries]` different candidates of each query."""
        return np.bincount(self.queries[self.first_of_pair])

    @property
    def queries_with_positive(self) -> float:
        """Share of the queries that have a positive event, 0 to 1."""
        return len(np.unique(self.queries[self.positive])) / max(len(self.query_ids), 1)

    @property
    def span_days(self) -> float:
        """Days from the first event to the last."""
        return float(self.times[-1] - self.times[0]) / DAY_S if self.num_events else 0.0


def count_events(sample: samples.Sample, columns: EventColumns) -> Events:
    """Reads the events of a table; those without an id or a time are left out.

    Raises:
        DataError: a file is damaged beyond the sample.
    """
    left_out = dict(columns.left_out or {})
    names = [columns.query, columns.candidate, columns.time, columns.label, columns.split]
    read = [name or columns.query for name in names] + list(left_out)
    of_value = {value: number for number, value in enumerate((columns.split_values or {}).values())}
    queries: dict[Any, int] = {}
    candidates: dict[Any, int] = {}
    times: dict[Any, int | None] = {}
    positives: dict[Any, bool] = {}
    kept: list[tuple[int, int, int, bool, int]] = []
    num_read = 0
    for cells in samples.cells_of(sample, read, MOST_COUNTED):
        num_read += 1
        query, candidate, time, label, split = cells[:5]
        if query is None or candidate is None:
            continue
        if any(
            (as_text(cell) if cell is not None else "") in values
            for cell, values in zip(cells[5:], left_out.values(), strict=True)
        ):
            continue
        second: int | None = 0
        if columns.time_unit is not None:
            if time not in times:
                times[time] = _time(time, columns.time_unit)
            second = times[time]
        if second is None:
            continue
        if label not in positives:
            positives[label] = _is_positive(label, columns)
        kept.append(
            (
                queries.setdefault(query, len(queries)),
                candidates.setdefault(candidate, len(candidates)),
                second,
                positives[label],
                of_value.get(as_text(split), -1) if columns.split is not None else -1,
            )
        )
    table = np.array(kept, np.int64).reshape(-1, 5)
    table = table[np.argsort(table[:, 2], kind="stable")]
    return Events(
        table[:, 0],
        table[:, 1],
        table[:, 2],
        table[:, 3].astype(bool),
        table[:, 4].astype(np.int8),
        tuple(as_text(query) for query in queries),
        complete=num_read < MOST_COUNTED,
    )


def _time(cell: Any, unit: str) -> int | None:
    try:
        return as_moment(cell, unit)
    except RecordError:
        return None


def _is_positive(cell: Any, columns: EventColumns) -> bool:
    if columns.label is None or columns.smallest_positive is None:
        return True
    try:
        return as_number(cell) >= columns.smallest_positive
    except RecordError:
        return False


@dataclass(frozen=True)
class HeldOut:
    """What a split leaves to learn from and to judge by. Only new pairs count."""

    num_examples: int
    """Positive training events."""
    num_queries: int
    """Queries that have one."""
    num_validation: int
    """Queries with a positive validation event."""
    num_test: int
    """Queries with a positive test event."""
    num_known_test: int
    """Those of them that have training events, too."""
    unknown_candidates: float
    """Share of the positive test events whose candidate has no training event, 0 to 1."""
    questions_per_candidate: float
    """Positive training events per candidate that has one."""

    @property
    def known(self) -> float:
        """Share of the test queries that have training events, 0 to 1."""
        return self.num_known_test / max(self.num_test, 1)


def hold_out(events: Events, split: NDArray[np.integer]) -> HeldOut:
    """Counts what a split gives; `split` is `[num_events]`, negative for events of none."""
    counted = events.positive & events.first_of_pair
    train = split == specs.TRAIN
    learned, judged = events.candidates[train & counted], counted & (split == specs.TEST)
    test = np.unique(events.queries[judged])
    known = np.isin(test, events.queries[train])
    new = ~np.isin(events.candidates[judged], events.candidates[train])
    return HeldOut(
        num_examples=len(learned),
        num_queries=len(np.unique(events.queries[train & counted])),
        num_validation=len(np.unique(events.queries[counted & (split == specs.VALIDATION)])),
        num_test=len(test),
        num_known_test=int(known.sum()),
        unknown_candidates=float(new.mean()) if len(new) else 0.0,
        questions_per_candidate=len(learned) / max(len(np.unique(learned)), 1),
    )


def latest_events(events: Events, test: float, validation: float) -> NDArray[np.int8]:
    """The temporal split: shares of the latest events; `[num_events]`."""
    cuts = [
        min(int(events.num_events * (1 - share)), events.num_events - 1)
        for share in (test + validation, test)
    ]
    validation_from, test_from = (events.times[cut] for cut in cuts)
    return ((events.times >= validation_from) + 0 + (events.times >= test_from)).astype(np.int8)


def last_of_each_query(
    events: Events, test: float | int, validation: float | int
) -> NDArray[np.int8]:
    """The split of each query's last events, numbers or shares of them; `[num_events]`."""
    order = np.argsort(events.queries, kind="stable")
    sizes = events.per_query
    starts = np.cumsum(sizes) - sizes
    place = np.empty(events.num_events, np.int64)
    place[order] = np.arange(events.num_events) - np.repeat(starts, sizes)
    from_end = sizes[events.queries] - 1 - place
    num_test, num_validation = (
        np.full(len(sizes), share) if isinstance(share, int) else np.floor(share * sizes + 1e-9)
        for share in (test, validation)
    )
    stays = sizes - num_test - num_validation < 1
    num_test, num_validation = (
        np.where(stays, 0, number)[events.queries] for number in (num_test, num_validation)
    )
    split = np.where(from_end < num_test, specs.TEST, specs.VALIDATION)
    return np.where(from_end >= num_test + num_validation, specs.TRAIN, split).astype(np.int8)
