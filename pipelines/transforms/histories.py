"""Histories of a query, most recent first. Plain functions; no Beam.

A candidate stands in a history once, at its most recent event: that keeps more different
candidates in a fixed width than repeats would.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple


class Past(NamedTuple):
    """One event as histories see it; events are given in the order of (timestamp, position)."""

    timestamp: int
    candidate_id: str
    counts: bool
    """Whether it may stand in a history (`positives_only`)."""


def histories_before(events: Iterable[Past], max_length: int) -> Iterator[tuple[str, ...]]:
    """For each event the candidates of strictly earlier events.

    Events of the same second do not see each other.
    """
    recent: dict[str, None] = {}
    now: int | None = None
    same_time: list[str] = []
    history: tuple[str, ...] = ()
    for event in events:
        if event.timestamp != now:
            _move_to_end(recent, same_time)
            same_time.clear()
            now = event.timestamp
            history = tuple(islice(reversed(recent), max_length))
        yield history
        if event.counts:
            same_time.append(event.candidate_id)


def latest_candidates(events: Iterable[Past], max_length: int | None = None) -> tuple[str, ...]:
    """The candidates of all events, most recent first."""
    recent: dict[str, None] = {}
    _move_to_end(recent, [event.candidate_id for event in events if event.counts])
    return tuple(islice(reversed(recent), max_length))


def without(history: Sequence[str], candidate_id: str, max_length: int) -> tuple[str, ...]:
    """The history as if the candidate had never been met."""
    return tuple(islice((other for other in history if other != candidate_id), max_length))


def _move_to_end(recent: dict[str, None], candidate_ids: Iterable[str]) -> None:
    for candidate_id in candidate_ids:
        recent.pop(candidate_id, None)
        recent[candidate_id] = None
