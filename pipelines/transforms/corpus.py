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
    table_files,
    table_sources,
)
from pipelines.transforms.cells import BadCell
from tfrs_twotower.artifacts import shard_of
from tfrs_twotower.errors import DataError
from tfrs_twotower.specs import FeatureSpec

EVENTS = "events"
CANDIDATES = "candidates"
_ENTITY, _EVENT, _TALLY = 0, 1, 2
_EVENT_CANDIDATE_ID = records.Event._fields.index("candidate_id")
_EVENT_POSITION = records.Event._fields.index("position")
_ENTITY_POSITION = records.Entity._fields.index("position")
Tally = tuple[int, int, int]
"""Numbers of a candidate's training events, of the positive ones, of the recent positive ones."""


class MatchCandidates(beam.PTransform):
    """Turns `(candidates, events)` into known `events`, `candidates` without repeats, and `bad`."""

    def expand(self, tables: Any) -> Any:
        """Groups both inputs by candidate id."""
        candidates, events = tables
        return (
            (
                candidates | "CandidateKey" >> beam.Map(lambda c: (c[0], (_ENTITY, c))),
                events | "EventKey" >> beam.Map(lambda e: (e[_EVENT_CANDIDATE_ID], (_EVENT, e))),
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
                "interactions", event[_EVENT_POSITION], candidate_id, "unknown candidate"
            )
            yield pvalue.TaggedOutput(reading.BAD, record)


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
    """Turns `(candidates, tallies)` into output items, `trained` candidates and counts."""

    def __init__(self, spec: FeatureSpec, num_shards: int) -> None:
        super().__init__()
        self._spec = spec
        self._num_shards = num_shards

    def expand(self, tables: Any) -> Any:
        """Groups both inputs by candidate id."""
        candidates, tallies = tables
        return (
            (
                candidates | "CandidateKey" >> beam.Map(lambda c: (c[0], (_ENTITY, c))),
                tallies | "TallyKey" >> beam.Map(lambda t: (t[0], (_TALLY, t[1]))),
            )
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.FlatMap(_build, self._spec, self._num_shards).with_outputs(
                records.TRAINED, reading.COUNTS, main=sharded_output.ITEMS
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
    for kind, value in members:
        if kind == _ENTITY:
            entity = records.Entity(*value)
        else:
            tally = value
    assert entity is not None, "only known candidates are counted"
    shard = shard_of(candidate_id, num_shards)
    events, positives, recent = tally
    yield ("corpus", shard), (candidate_id, candidate_example(entity, spec))
    yield ("frequencies", shard), (candidate_id, positives, recent)
    yield pvalue.TaggedOutput(reading.COUNTS, ("candidates", 1))
    if events:
        yield pvalue.TaggedOutput(records.TRAINED, (events, entity.values, candidate_id))


class CandidateTable(NamedTuple):
    """The usable candidates of a table, and its bad records."""

    examples: list[bytes]
    """A serialized `tf.train.Example` for each candidate, as preprocessing writes it."""
    bad: list[str]
    """Position and reason of each record that cannot be used."""


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
    examples: dict[str, bytes] = {}
    bad: list[str] = []
    for file_number, path in enumerate(source.files):
        try:
            for number, cells, reason in table_files.read_table_file(
                path, source.file_format, source.columns
            ):
                position = table_files.position_of(file_number, number)
                try:
                    if cells is None:
                        raise BadCell(reason)
                    entity = parse(position, cells)
                    if entity.entity_id in examples:
                        raise BadCell("duplicate candidate id")
                except BadCell as cause:
                    bad.append(f"{source.describe(position)}: {cause.reason}")
                else:
                    examples[entity.entity_id] = candidate_example(entity, spec)
        except table_files.UnreadableFile as cause:
            raise DataError(
                f"candidates: {cause}. Check the file: it may have been cut off while it was "
                "written or copied."
            ) from cause
    return CandidateTable(list(examples.values()), bad)
