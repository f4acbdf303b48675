"""All events of one query, gathered in bounded memory. Plain classes; no Beam.

Every event is seen once to add up what evaluation needs; of each split only the most recent
`limit` events are kept for histories and examples.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pipelines.transforms.splits import SPLITS, TEST, TRAIN, VALIDATION


class Placed(NamedTuple):
    """An event of one query with its split; sorts by time and then by source position."""

    timestamp: int
    position: int
    candidate_id: str
    label: float
    weight: float
    positive: bool


@dataclass
class SplitEvents:
    """What is known of a query's events in one split."""

    kept: list[Placed] = field(default_factory=list)
    """The most recent ones, in order once `QueryEvents.sort` was called."""
    count: int = 0
    num_positives: int = 0
    first_s: int | None = None
    last_s: int | None = None
    gains: dict[str, float] = field(default_factory=dict)
    """Highest label of each candidate with a positive event (evaluated splits only)."""
    candidate_ids: set[str] = field(default_factory=set)
    """All candidates, whatever the label (splits before an evaluated one)."""

    @property
    def beyond_limit(self) -> int:
        """Events that were too old to be kept."""
        return self.count - len(self.kept)


class QueryEvents:
    """Collects the events of one query.

    Args:
        limit: events that are kept for each split.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.splits = [SplitEvents() for _ in SPLITS]

    def add(self, split: int, event: Placed) -> None:
        """Takes one more event, in any order."""
        of = self.splits[split]
        of.count += 1
        time = event.timestamp
        of.first_s = time if of.first_s is None else min(of.first_s, time)
        of.last_s = time if of.last_s is None else max(of.last_s, time)
        if split != TEST:
            of.candidate_ids.add(event.candidate_id)
        if event.positive:
            of.num_positives += 1
            if split != TRAIN:
                known = of.gains.get(event.candidate_id, event.label)
                of.gains[event.candidate_id] = max(known, event.label)
        if len(of.kept) < self._limit:
            heapq.heappush(of.kept, event)
        else:
            heapq.heappushpop(of.kept, event)

    def sort(self) -> None:
        """Puts the kept events in order."""
        for of in self.splits:
            of.kept.sort()

    def is_kept(self, split: int, event: Placed) -> bool:
        """Whether an event is among the kept ones; they have to be sorted."""
        return event >= self.splits[split].kept[0]

    def before(self, split: int) -> list[Placed]:
        """The kept events of all earlier splits, in order."""
        return sorted(event for of in self.splits[:split] for event in of.kept)

    def seen_before(self, split: int) -> set[str]:
        """Candidates of all earlier events, whatever the label."""
        return set().union(*(of.candidate_ids for of in self.splits[:split]))

    def count_before(self, split: int) -> int:
        """Number of all earlier events."""
        return sum(of.count for of in self.splits[:split])


EVALUATED: Iterable[int] = (VALIDATION, TEST)
