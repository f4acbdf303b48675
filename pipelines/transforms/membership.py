"""Matches interactions with the candidates table.

The first record of each candidate id is kept. Later ones, and interactions whose candidate has no
record, are quarantined. There is one grouping by candidate id, whose groups are read twice and
never held in memory.
"""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from pipelines.transforms.quarantine import bad_record
from pipelines.transforms.reading import BAD
from pipelines.transforms.records import Entity, Event

EVENTS = "events"
CANDIDATES = "candidates"
_ENTITY, _EVENT = 0, 1
_ID = Event._fields.index("candidate_id")
_EVENT_POSITION = Event._fields.index("position")
_POSITION = Entity._fields.index("position")


class MatchCandidates(beam.PTransform):
    """Turns `(candidates, events)` into known `events`, `candidates` without repeats, and `bad`."""

    def expand(self, tables: Any) -> Any:
        """Groups both inputs by candidate id."""
        candidates, events = tables
        return (
            (
                candidates | "CandidateKey" >> beam.Map(lambda c: (c[0], (_ENTITY, c))),
                events | "EventKey" >> beam.Map(lambda e: (e[_ID], (_EVENT, e))),
            )
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.ParDo(_match).with_outputs(CANDIDATES, BAD, main=EVENTS)
        )


def first_of(entities: Iterable[tuple[Any, ...]]) -> tuple[tuple[Any, ...] | None, list[int]]:
    """The entity that comes first in the files, and the sorted positions of the others."""
    first = None
    others = []
    for entity in entities:
        if first is None:
            first = entity
        elif entity[_POSITION] < first[_POSITION]:
            others.append(first[_POSITION])
            first = entity
        else:
            others.append(entity[_POSITION])
    return first, sorted(others)


def _match(group: tuple[str, Iterable[tuple[int, tuple[Any, ...]]]]) -> Iterable[Any]:
    candidate_id, members = group
    known, repeats = first_of(record for kind, record in members if kind == _ENTITY)
    if known is not None:
        yield pvalue.TaggedOutput(CANDIDATES, known)
    for position in repeats:
        record = bad_record("candidates", position, candidate_id, "duplicate candidate id")
        yield pvalue.TaggedOutput(BAD, record)
    for kind, event in members:
        if kind == _EVENT and known is not None:
            yield event
        elif kind == _EVENT:
            record = bad_record(
                "interactions", event[_EVENT_POSITION], candidate_id, "unknown candidate"
            )
            yield pvalue.TaggedOutput(BAD, record)
