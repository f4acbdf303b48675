"""The time that a temporal split places an event by: that of its session's first event."""

from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from pipelines.transforms.records import Event

_TIME = Event._fields.index("timestamp")
_SESSION = Event._fields.index("session")


class AddSplitTime(beam.PTransform):
    """Events to `(split time, event)`, epoch seconds; events without a session keep their own.

    A session's events are grouped under its id over all queries.
    """

    def __init__(self, by_session: bool) -> None:
        super().__init__()
        self._by_session = by_session

    def expand(self, events: beam.PCollection) -> beam.PCollection:
        """Groups by session where the table names one."""
        if not self._by_session:
            return events | "OwnTime" >> beam.Map(lambda event: (event[_TIME], event))
        alone = (
            events
            | "WithoutSession" >> beam.Filter(lambda event: not event[_SESSION])
            | "OwnTime" >> beam.Map(lambda event: (event[_TIME], event))
        )
        together = (
            events
            | "WithSession" >> beam.Filter(lambda event: bool(event[_SESSION]))
            | "SessionKey" >> beam.Map(lambda event: (event[_SESSION], event))
            | beam.GroupByKey()
            | "SessionStart" >> beam.FlatMap(_from_its_start)
        )
        return (alone, together) | beam.Flatten()


def _from_its_start(
    group: tuple[str, Iterable[tuple[Any, ...]]],
) -> Iterable[tuple[int, tuple[Any, ...]]]:
    _, events = group
    start = min(event[_TIME] for event in events)
    for event in events:
        yield start, event
