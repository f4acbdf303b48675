"""The corpus: each candidate's example, its frequency, and its part in vocabularies."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from pipelines.transforms.cutoffs import DAY_S
from pipelines.transforms.example_encoding import Example, put_texts, put_values, serialise
from pipelines.transforms.reading import COUNTS
from pipelines.transforms.records import Entity
from pipelines.transforms.sharded_output import shard_of
from tfrs_twotower.specs import FeatureSpec

ITEMS = "items"
TRAINED = "trained"
_ENTITY, _TALLY = 0, 1
Tally = tuple[int, int, int]
"""Training events, positive ones, recent positive ones."""


class CountCandidates(beam.PTransform):
    """`(candidate id, (timestamp, positive))` of training events to `(candidate id, tally)`."""

    def __init__(self, recent_days: float) -> None:
        super().__init__()
        self._recent_s = recent_days * DAY_S

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
    """The sum of tallies, part by part."""
    events = positives = recent = 0
    for more_events, more_positives, more_recent in tallies:
        events += more_events
        positives += more_positives
        recent += more_recent
    return events, positives, recent


class BuildCorpus(beam.PTransform):
    """`(candidates, tallies)` to output items, `trained` candidates and counts."""

    def __init__(self, spec: FeatureSpec, num_shards: int) -> None:
        super().__init__()
        self._spec = spec
        self._num_shards = num_shards

    def expand(self, tables: Any) -> Any:
        """Groups both by candidate id."""
        candidates, tallies = tables
        return (
            (
                candidates | "CandidateKey" >> beam.Map(lambda c: (c[0], (_ENTITY, c))),
                tallies | "TallyKey" >> beam.Map(lambda t: (t[0], (_TALLY, t[1]))),
            )
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.FlatMap(_build, self._spec, self._num_shards).with_outputs(
                TRAINED, COUNTS, main=ITEMS
            )
        )


def candidate_example(entity: Entity, spec: FeatureSpec) -> bytes:
    """The serialized `tf.train.Example` of a candidate."""
    example = Example()
    put_values(example, spec.candidate.features, entity.values)
    put_texts(example, "_candidate_id", (entity.entity_id,))
    put_texts(example, "_title", (entity.title,))
    return serialise(example)


def _build(
    group: tuple[str, Iterable[tuple[int, Any]]], spec: FeatureSpec, num_shards: int
) -> Iterator[Any]:
    candidate_id, members = group
    entity: Entity | None = None
    tally: Tally = (0, 0, 0)
    for kind, value in members:
        if kind == _ENTITY:
            entity = Entity(*value)
        else:
            tally = value
    assert entity is not None, "only known candidates are counted"
    shard = shard_of(candidate_id, num_shards)
    events, positives, recent = tally
    yield ("corpus", shard), (candidate_id, candidate_example(entity, spec))
    yield ("frequencies", shard), (candidate_id, positives, recent)
    yield pvalue.TaggedOutput(COUNTS, ("candidates", 1))
    if events:
        yield pvalue.TaggedOutput(TRAINED, (events, entity.values, candidate_id))
