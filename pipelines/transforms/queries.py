"""Brings the events and records of each shard of queries together, and writes what follows."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam import pvalue

from pipelines.transforms import (
    batches,
    query_examples,
    query_partition,
    reading,
    records,
    sharded_output,
    splits,
    watched_cells,
)
from tfrs_twotower import specs
from tfrs_twotower.ranking.sorting import order_by

REFIT_OUTPUT = "fresh"
"""Name on disk of the examples of the validation window, which only a refit trains on."""
EVALUATIONS = "evaluations"
TALLIES = "tallies"
FRESH_CHOICES = "fresh_choices"
WINDOWS = "windows"
_ENTITY, _EVENT = 0, 1
_EVENTS = batches.EVENTS.append(pa.field(batches.SPLIT_TIME, pa.int64()))


class BuildQueries(beam.PTransform):
    """Turns timed events, `queries` and `cutoffs` into all outputs about queries.

    Writes the files of `train`, `fresh` (the refit examples), `interactions` and `queries`, and
    gives their paths as the output `written`.

    Outputs:
        evaluations: `(shard, packed drafts)`; see `query_examples.evaluated`.
        tallies: `(shard of the candidates, packed candidate_id, time, positive)` of training.
        windows: `(split, (events, positives, first second, last second))` of a shard.
        fresh_choices: `(shard of the candidates, packed candidate_id, events)` of validation.
        trained, fresh: packed entities, by the events of the training and validation window.
        bad, counts, forms: as in `ReadTable`.
    """

    def __init__(
        self, spec: specs.FeatureSpec, num_shards: int, limit: int, files: sharded_output.ShardFiles
    ) -> None:
        super().__init__()
        self._num_shards = num_shards
        self._do = _BuildShard(spec, num_shards, limit, files)

    def expand(self, tables: Any) -> Any:
        """Groups by the shard of the query id; `queries` and `cutoffs` may be absent."""
        shards = self._num_shards
        keyed = [
            tables["events"] | "EventKey" >> beam.FlatMap(by_shard, _EVENT, "query_id", shards),
            sharded_output.every_shard(tables["events"].pipeline, shards),
        ]
        if "queries" in tables:
            queries = tables["queries"]
            keyed.append(
                queries | "QueryKey" >> beam.FlatMap(by_shard, _ENTITY, "entity_id", shards)
            )
        cutoffs = pvalue.AsSingleton(tables["cutoffs"]) if "cutoffs" in tables else None
        return (
            keyed
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.ParDo(self._do, cutoffs).with_outputs(
                EVALUATIONS,
                TALLIES,
                FRESH_CHOICES,
                WINDOWS,
                records.TRAINED,
                records.FRESH,
                reading.BAD,
                reading.COUNTS,
                reading.FORMS,
                main="written",
            )
        )


def by_shard(
    part: bytes, kind: int, column: str, num_shards: int
) -> Iterator[tuple[int, tuple[int, bytes]]]:
    """Divides a packed table by a hash of a column; the kind tells it from others of its shard."""
    for shard, rows in batches.divided(batches.unpacked([part]), column, num_shards):
        yield shard, (kind, rows)


class _BuildShard(beam.DoFn):
    def __init__(
        self, spec: specs.FeatureSpec, num_shards: int, limit: int, files: sharded_output.ShardFiles
    ) -> None:
        self._spec = spec
        self._num_shards = num_shards
        self._limit = limit
        self._files = files
        own = [one for one in spec.query.features if not records.from_event(one)]
        self._records = batches.entities_schema(own)

    def process(
        self, group: tuple[int, Iterable[tuple[int, bytes]]], cutoffs: splits.Cutoffs | None
    ) -> Iterator[Any]:
        shard, members = group
        parts: dict[int, list[bytes]] = {_ENTITY: [], _EVENT: []}
        for kind, part in members:
            if kind in parts:
                parts[kind].append(part)
        queries, repeats = batches.first_of_each(batches.unpacked(parts[_ENTITY], self._records))
        yield _count("query_records", queries.num_rows)
        for record in repeats.select(["position", "entity_id"]).to_pylist():
            yield _bad("queries", record["position"], record["entity_id"], "duplicate query id")
        partition = query_partition.Partition(
            self._spec, self._limit, batches.unpacked(parts[_EVENT], _EVENTS), queries, cutoffs
        )
        del parts, queries
        for position, query_id, reason in partition.refused():
            yield _bad("interactions", position, query_id, reason)
        yield from self._queries(shard, partition)
        yield from self._events(shard, partition)
        yield from self._examples(shard, partition)
        yield from self._evaluations(shard, partition)

    def _queries(self, shard: int, partition: query_partition.Partition) -> Iterator[Any]:
        has_events = partition.has_events
        is_known = has_events | partition.has_record
        yield _count("known_queries", is_known.sum())
        yield _count("queries_without_interactions", (is_known & ~has_events).sum())
        known = np.flatnonzero(is_known)
        yield self._files.write("queries", shard, query_examples.known(partition, known))[0]
        if self._spec.queries is not None:
            number, first = partition.without_record()
            yield _count("interactions_without_query_record", number)
            form = ("interactions", self._spec.interactions.query_id, watched_cells.NO_RECORD)
            if number:
                seen = reading.merge_summaries([(number, first)])
                yield pvalue.TaggedOutput(reading.FORMS, (form, seen))
        for split, tag in ((specs.TRAIN, records.TRAINED), (specs.VALIDATION, records.FRESH)):
            events = partition.count[split]
            chosen = pa.array(np.flatnonzero(events))
            columns = {"events": pa.array(events).take(chosen)}
            columns["entity_id"] = partition.ids.take(chosen)
            for name, values in partition.values.items():
                columns[f"value:{name}"] = values.take(chosen)
            if len(chosen):
                yield pvalue.TaggedOutput(tag, batches.packed(pa.table(columns)))
        yield _count("train_queries", np.count_nonzero(partition.count[specs.TRAIN]))

    def _events(self, shard: int, partition: query_partition.Partition) -> Iterator[Any]:
        events = partition.events
        for split in range(len(specs.SPLITS)):
            own = events.of(events.split == split)
            if len(own):
                times = int(own.time.min()), int(own.time.max())
                window = (len(own), int(own.positive.sum()), *times)
                yield pvalue.TaggedOutput(WINDOWS, (split, window))
        train = events.of(events.split == specs.TRAIN)
        tallies = {"time": train.time, "positive": train.positive}
        yield from self._of_candidates(TALLIES, partition, train.candidate, tallies)
        validation = events.candidate[events.split == specs.VALIDATION]
        candidates, number = np.unique(validation, return_counts=True)
        yield from self._of_candidates(FRESH_CHOICES, partition, candidates, {"events": number})
        order = order_by(events.query, events.time, events.candidate, events.position)
        table = query_examples.interactions(partition, events.of(order))
        yield self._files.write("interactions", shard, table)[0]

    def _of_candidates(
        self, tag: str, partition: query_partition.Partition, candidates: Any, columns: Any
    ) -> Iterator[Any]:
        table = pa.table({"candidate_id": partition.texts(candidates), **columns})
        for shard, rows in batches.divided(table, "candidate_id", self._num_shards):
            yield pvalue.TaggedOutput(tag, (shard, rows))

    def _examples(self, shard: int, partition: query_partition.Partition) -> Iterator[Any]:
        for split, name in ((specs.TRAIN, "train"), (specs.VALIDATION, REFIT_OUTPUT)):
            training = query_examples.training(partition, split)
            path, number = self._files.write(name, shard, training)
            yield path
            yield _count(f"{name}_examples", number)
            yield _count("events_without_example", training.dropped)

    def _evaluations(self, shard: int, partition: query_partition.Partition) -> Iterator[Any]:
        trained = partition.count[specs.TRAIN] > 0
        for split in query_partition.EVALUATED:
            name = specs.SPLITS[split]
            asked = partition.count[split] > 0
            if self._spec.split.known_queries_only:
                yield _count(f"{name}_queries_unknown", (asked & ~trained).sum())
                asked &= trained
            drafts = query_examples.evaluated(partition, split, asked)
            yield _count(f"{name}_queries_empty", asked.sum() - drafts.num_rows)
            yield _count(f"{name}_drafts", drafts.num_rows)
            if drafts.num_rows:
                yield pvalue.TaggedOutput(EVALUATIONS, (shard, batches.packed(drafts)))


def _count(name: str, number: Any) -> pvalue.TaggedOutput:
    return pvalue.TaggedOutput(reading.COUNTS, (name, int(number)))


def _bad(table: str, position: int, key: str, reason: str) -> pvalue.TaggedOutput:
    record = reading.bad_record(table, position, key, reason)
    return pvalue.TaggedOutput(reading.BAD, record)
