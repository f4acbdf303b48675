"""The corpus: matches interactions with candidates, and makes examples and frequencies of them."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam import pvalue

from pipelines.transforms import (
    cutoffs,
    reading,
    records,
    sharded_output,
    table_sources,
    watched_cells,
)
from tfrs_twotower.artifacts import shard_of
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.tables.delimited import FileNotes

EVENTS = "events"
CANDIDATES = "candidates"
UNKNOWN_CANDIDATE = "unknown candidate"
BAD_CANDIDATE = "its candidate's own record is bad"
_ENTITY, _EVENT, _TALLY, _BAD, _FRESH = 0, 1, 2, 3, 4
_EVENT_CANDIDATE_ID = records.Event._fields.index("candidate_id")
_EVENT_POSITION = records.Event._fields.index("position")
_ENTITY_POSITION = records.Entity._fields.index("position")
Tally = tuple[int, int, int]
"""Numbers of a candidate's training events, of the positive ones, of the recent positive ones."""


class MatchCandidates(beam.PTransform):
    """Turns `(candidates, events, bad)` into known `events`, distinct `candidates`, and `bad`.

    The bad candidates are given, so that their events are not called unknown.
    """

    def expand(self, tables: Any) -> Any:
        """Groups the inputs by candidate id."""
        candidates, events, bad = tables
        return (
            (
                candidates | "CandidateKey" >> beam.Map(lambda c: (c[0], (_ENTITY, c))),
                events | "EventKey" >> beam.Map(lambda e: (e[_EVENT_CANDIDATE_ID], (_EVENT, e))),
                bad | "BadKey" >> beam.FlatMap(_left_out),
            )
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.ParDo(_match).with_outputs(CANDIDATES, reading.BAD, main=EVENTS)
        )


def first_of(entities: Iterable[tuple[Any, ...]]) -> tuple[tuple[Any, ...] | None, list[int]]:
    """The entity that comes first in the files, and the sorted positions of the others."""
    first = None
    others = []
    for entity in entities:
        if first is None:
            first = entity
        elif entity[_ENTITY_POSITION] < first[_ENTITY_POSITION]:
            others.append(first[_ENTITY_POSITION])
            first = entity
        else:
            others.append(entity[_ENTITY_POSITION])
    return first, sorted(others)


def _match(group: tuple[str, Iterable[tuple[int, tuple[Any, ...]]]]) -> Iterable[Any]:
    candidate_id, members = group
    known, repeats = first_of(record for kind, record in members if kind == _ENTITY)
    unknown = BAD_CANDIDATE if any(kind == _BAD for kind, _ in members) else UNKNOWN_CANDIDATE
    if known is not None:
        yield pvalue.TaggedOutput(CANDIDATES, known)
    for position in repeats:
        record = reading.bad_record("candidates", position, candidate_id, "duplicate candidate id")
        yield pvalue.TaggedOutput(reading.BAD, record)
    for kind, event in members:
        if kind == _EVENT and known is not None:
            yield event
        elif kind == _EVENT:
            record = reading.bad_record(
                "interactions", event[_EVENT_POSITION], candidate_id, unknown
            )
            yield pvalue.TaggedOutput(reading.BAD, record)


def _left_out(bad: reading.BadRecord) -> Iterator[tuple[str, tuple[int, Any]]]:
    _, _, key, _, _, column = bad
    if key and not column:
        yield key, (_BAD, ())


class CountCandidates(beam.PTransform):
    """Counts training events `(candidate id, (timestamp, positive))`: `(candidate id, tally)`."""

    def __init__(self, recent_days: float) -> None:
        super().__init__()
        self._recent_s = recent_days * cutoffs.DAY_S

    def expand(self, tables: Any) -> beam.PCollection:
        """Takes the events and, as a side input, the end of the training window."""
        events, train_end = tables
        return (
            events
            | "One" >> beam.Map(_tally, pvalue.AsSingleton(train_end), self._recent_s)
            | "Add" >> beam.CombinePerKey(add_tallies)
        )


def _tally(
    event: tuple[str, tuple[int, bool]], train_end: int, recent_s: float
) -> tuple[str, Tally]:
    candidate_id, (time, positive) = event
    return candidate_id, (1, int(positive), int(positive and time >= train_end - recent_s))


def add_tallies(tallies: Iterable[Tally]) -> Tally:
    """Adds up tallies, number by number."""
    events = positives = recent = 0
    for more_events, more_positives, more_recent in tallies:
        events += more_events
        positives += more_positives
        recent += more_recent
    return events, positives, recent


class BuildCorpus(beam.PTransform):
    """Turns `(candidates, tallies, fresh choices)` into output items, entities and counts.

    The entities are `trained` and `fresh` candidates: `Trained`, by the events of either window.
    """

    def __init__(self, spec: FeatureSpec, num_shards: int) -> None:
        super().__init__()
        self._spec = spec
        self._num_shards = num_shards

    def expand(self, tables: Any) -> Any:
        """Groups both inputs by candidate id."""
        candidates, tallies, fresh = tables
        return (
            (
                candidates | "CandidateKey" >> beam.Map(lambda c: (c[0], (_ENTITY, c))),
                tallies | "TallyKey" >> beam.Map(lambda t: (t[0], (_TALLY, t[1]))),
                fresh
                | "CountFresh" >> beam.combiners.Count.PerElement()
                | "FreshKey" >> beam.Map(lambda f: (f[0], (_FRESH, f[1]))),
            )
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.FlatMap(_build, self._spec, self._num_shards).with_outputs(
                records.TRAINED, records.FRESH, reading.COUNTS, main=sharded_output.ITEMS
            )
        )


def candidate_example(entity: records.Entity, spec: FeatureSpec) -> bytes:
    """The serialized `tf.train.Example` of a candidate."""
    example = sharded_output.Example()
    sharded_output.put_values(example, spec.candidate.features, entity.values)
    sharded_output.put_texts(example, "_candidate_id", (entity.entity_id,))
    sharded_output.put_texts(example, "_title", (entity.title,))
    return sharded_output.serialise(example)


def _build(
    group: tuple[str, Iterable[tuple[int, Any]]], spec: FeatureSpec, num_shards: int
) -> Iterator[Any]:
    candidate_id, members = group
    entity: records.Entity | None = None
    tally: Tally = (0, 0, 0)
    fresh = 0
    for kind, value in members:
        if kind == _ENTITY:
            entity = records.Entity(*value)
        elif kind == _TALLY:
            tally = value
        else:
            fresh = value
    assert entity is not None, "only known candidates are counted"
    shard = shard_of(candidate_id, num_shards)
    events, positives, recent = tally
    yield ("corpus", shard), (candidate_id, candidate_example(entity, spec))
    yield ("frequencies", shard), (candidate_id, positives, recent)
    yield pvalue.TaggedOutput(reading.COUNTS, ("candidates", 1))
    if events:
        yield pvalue.TaggedOutput(reading.COUNTS, ("tallied_events", events))
        yield pvalue.TaggedOutput(records.TRAINED, (events, entity.values, candidate_id))
    if fresh:
        yield pvalue.TaggedOutput(records.FRESH, (fresh, entity.values, candidate_id))


class CandidateTable(NamedTuple):
    """The usable candidates of a table, and what is bad about it."""

    examples: list[bytes]
    """A serialized `tf.train.Example` for each candidate, as preprocessing writes it."""
    bad: list[str]
    """Position and reason of each record that cannot be used."""
    said: list[str]
    """Sentences about the files."""
    bad_cells: dict[str, list[str]]
    """The same of each cell that counts as missing, by column."""
    forms: dict[tuple[str, str], reading.ReasonSummary]
    """Number and first example of the cells of each column and form (`watched_cells`)."""


def read_candidate_table(source: table_sources.Source, spec: FeatureSpec) -> CandidateTable:
    """Reads all files of a candidates table.

    Args:
        source: the files, with the `entity_columns` of the candidate side.
        spec: the feature spec.

    Raises:
        DataError: a file cannot be read to its end.
    """
    features = spec.candidate.features
    parse = records.EntityParser(spec.candidates, features, "candidate")
    watch = watched_cells.CellWatch(parse.watched, source.columns)
    examples: dict[str, bytes] = {}
    found: list[reading.BadRecord] = []
    said: list[str] = []
    for file_number in range(len(source.files)):
        notes = FileNotes()
        for record, bad in reading.read_records(source, file_number, parse, watch, notes):
            found += bad
            if record is None:
                continue
            entity = records.Entity(*record)
            if entity.entity_id in examples:
                reason = "duplicate candidate id"
                found.append(
                    reading.bad_record(source.table, entity.position, entity.entity_id, reason)
                )
            else:
                examples[entity.entity_id] = candidate_example(entity, spec)
        said.extend(notes.said())
    described: dict[str, list[str]] = {"": []}
    for _, position, _, reason, value, column in found:
        shown = f"{reason} (found {value})" if value else reason
        described.setdefault(column, []).append(f"{source.describe(position)}: {shown}")
    bad_records = described.pop("")
    return CandidateTable(list(examples.values()), bad_records, said, described, dict(watch.seen()))
