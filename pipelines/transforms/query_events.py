"""All events of one query, gathered in bounded memory. Plain classes; no Beam.

Every event counts for the figures that evaluation needs; only the most recent `limit` events of
each split are kept for histories and examples.
"""

import heapq
from dataclasses import dataclass, field
from typing import NamedTuple

from tfrs_twotower import specs

EVALUATED = (specs.VALIDATION, specs.TEST)
"""Codes of the evaluated splits."""


class QueryEvent(NamedTuple):
    """An event of one query; sorts by time and then by source position."""

    timestamp: int
    position: int
    candidate_id: str
    label: float
    weight: float
    positive: bool


@dataclass
class SplitEvents:
    """The events of a query in one split: the kept ones, and figures of all of them."""

    kept: list[QueryEvent] = field(default_factory=list)
    """The most recent events, in order after `QueryEvents.sort`."""
    count: int = 0
    num_positives: int = 0
    first_s: int | None = None
    last_s: int | None = None
    gains: dict[str, float] = field(default_factory=dict)
    """Highest label of each candidate with a positive event (in evaluated splits)."""
    candidate_ids: set[str] = field(default_factory=set)
    """All candidates, whatever the label."""

    @property
    def beyond_limit(self) -> int:
        """Number of events that are too old to be kept."""
        return self.count - len(self.kept)


class QueryEvents:
    """Collects the events of one query.

    Args:
        limit: number of events that are kept for each split.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.splits = [SplitEvents() for _ in specs.SPLITS]

    def add(self, split: int, event: QueryEvent) -> None:
        """Adds an event; events may come in any order."""
        own = self.splits[split]
        own.count += 1
        time = event.timestamp
        own.first_s = time if own.first_s is None else min(own.first_s, time)
        own.last_s = time if own.last_s is None else max(own.last_s, time)
        own.candidate_ids.add(event.candidate_id)
        if event.positive:
            own.num_positives += 1
            if split != specs.TRAIN:
                gain = own.gains.get(event.candidate_id, event.label)
                own.gains[event.candidate_id] = max(gain, event.label)
        if len(own.kept) < self._limit:
            heapq.heappush(own.kept, event)
        else:
            heapq.heappushpop(own.kept, event)

    def sort(self) -> None:
        """Puts the kept events in order."""
        for events in self.splits:
            events.kept.sort()

    def is_kept(self, split: int, event: QueryEvent) -> bool:
        """Whether an event is among the kept ones of its split, after `sort`."""
        return event >= self.splits[split].kept[0]

    def before(self, split: int) -> list[QueryEvent]:
        """The kept events of earlier splits, in order."""
        return sorted(event for events in self.splits[:split] for event in events.kept)

    def seen_before(self, split: int) -> set[str]:
        """Candidates of all events in earlier splits, whatever the label."""
        return set().union(*(events.candidate_ids for events in self.splits[:split]))

    def count_before(self, split: int) -> int:
        """Number of events in earlier splits."""
        return sum(events.count for events in self.splits[:split])
