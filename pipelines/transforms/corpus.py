"""The corpus: matches interactions with candidates, and makes examples and frequencies of them."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam import pvalue

from pipelines.transforms import (
    batches,
    cutoffs,
    example_columns,
    queries,
    reading,
    records,
    sharded_output,
    table_parts,
    table_sources,
)
from tfrs_twotower.artifacts import shard_of
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.tables import delimited

EVENTS = "events"
CANDIDATES = "candidates"
UNKNOWN_CANDIDATE = "unknown candidate"
BAD_CANDIDATE = "its candidate's own record is bad"
DUPLICATE = "duplicate candidate id"
_ENTITY, _EVENT, _TALLY, _BAD, _FRESH = 0, 1, 2, 3, 4
_TALLIES = pa.schema(
    [
        ("candidate_id", pa.string()),
        ("events", pa.int64()),
        ("positives", pa.int64()),
        ("recent", pa.int64()),
    ]
)
"""Numbers of a candidate's training events, of the positive ones, of the recent positive ones."""
_CHOICES = pa.schema([("candidate_id", pa.string()), ("events", pa.int64())])


class MatchCandidates(beam.PTransform):
    """Turns `(candidates, events, bad)` into known `events`, distinct `candidates`, and `bad`.

    Tables are packed; those of candidates come with their shard. The bad candidates are given, so
    that their events are not called unknown. Hot candidates do no harm, because the events of a
    shard's candidates are never grouped any further.
    """

    def __init__(self, num_shards: int) -> None:
        super().__init__()
        self._num_shards = num_shards

    def expand(self, tables: Any) -> Any:
        """Groups the inputs by the shard of the candidate id."""
        candidates, events, bad = tables
        by_shard, shards = queries.by_shard, self._num_shards
        return (
            (
                candidates | "CandidateKey" >> beam.FlatMap(by_shard, _ENTITY, "entity_id", shards),
                events | "EventKey" >> beam.FlatMap(by_shard, _EVENT, "candidate_id", shards),
                bad | "BadKey" >> beam.FlatMap(_left_out, shards),
            )
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.ParDo(_match).with_outputs(CANDIDATES, reading.BAD, main=EVENTS)
        )


def _match(group: tuple[int, Iterable[tuple[int, bytes]]]) -> Iterable[Any]:
    shard, members = group
    entities = [part for kind, part in members if kind == _ENTITY]
    known = pa.array([], pa.string())
    if entities:
        first, repeats = batches.first_of_each(batches.unpacked(entities))
        known = batches.flat(first["entity_id"])
        yield pvalue.TaggedOutput(CANDIDATES, (shard, batches.packed(first)))
        for record in repeats.select(["position", "entity_id"]).to_pylist():
            repeated = reading.bad_record(
                "candidates", record["position"], record["entity_id"], DUPLICATE
            )
            yield pvalue.TaggedOutput(reading.BAD, repeated)
    bad_ids = {part.decode("utf-8") for kind, part in members if kind == _BAD}
    tables = (batches.unpacked([part]) for kind, part in members if kind == _EVENT)
    for table in batches.gathered(tables):
        is_known = pc.is_in(table["candidate_id"], value_set=known)
        matched = table.filter(is_known)
        if matched.num_rows:
            yield batches.packed(matched)
        unknown = table.filter(pc.invert(is_known)).select(["position", "candidate_id"])
        for record in unknown.to_pylist():
            id_ = record["candidate_id"]
            reason = BAD_CANDIDATE if id_ in bad_ids else UNKNOWN_CANDIDATE
            missed = reading.bad_record("interactions", record["position"], id_, reason)
            yield pvalue.TaggedOutput(reading.BAD, missed)


def _left_out(bad: reading.BadRecord, num_shards: int) -> Iterator[tuple[int, tuple[int, bytes]]]:
    _, _, key, _, _, column = bad
    if key and not column:
        yield shard_of(key, num_shards), (_BAD, key.encode("utf-8"))


class CountCandidates(beam.PTransform):
    """Turns training events, `(shard, packed candidate_id, time, positive)`, into tallies."""

    def __init__(self, recent_days: float) -> None:
        super().__init__()
        self._recent_s = recent_days * cutoffs.DAY_S

    def expand(self, tables: Any) -> beam.PCollection:
        """Takes the events and, as a side input, the end of the training window."""
        events, train_end = tables
        return (
            events
            | "Some" >> beam.Map(_tally, pvalue.AsSingleton(train_end), self._recent_s)
            | "Add" >> beam.GroupByKey()
            | "All" >> beam.MapTuple(lambda shard, parts: (shard, add_tallies(parts)))
        )


def _tally(part: tuple[int, bytes], train_end: int, recent_s: float) -> tuple[int, bytes]:
    shard, rows = part
    table = batches.unpacked([rows])
    positive = batches.numbers(table, "positive")
    recent = positive & (batches.numbers(table, "time") >= train_end - recent_s)
    counts = [np.ones(len(positive), np.int64), positive, recent]
    columns = [batches.flat(table["candidate_id"]), *(pa.array(one, pa.int64()) for one in counts)]
    return shard, add_tallies([batches.packed(pa.Table.from_arrays(columns, schema=_TALLIES))])


def add_tallies(parts: Iterable[bytes]) -> bytes:
    """Adds up packed tallies, number by number, for each candidate."""
    return batches.packed(_added(parts, _TALLIES))


def _added(parts: Iterable[bytes], schema: pa.Schema) -> pa.Table:
    table = batches.unpacked(parts, schema)
    names = schema.names[1:]
    added = table.group_by(schema.names[0]).aggregate([(name, "sum") for name in names])
    sums = [added[f"{name}_sum"] for name in names]
    return pa.Table.from_arrays([added[schema.names[0]], *sums], schema=schema)


class BuildCorpus(beam.PTransform):
    """Turns `(candidates, tallies, fresh choices)`, each by shard, into files and entities.

    Writes `corpus` and `frequencies`, and gives the paths as `written`. The entities are `trained`
    and `fresh` candidates, by the events of either window. Candidates are counted.
    """

    def __init__(
        self, spec: FeatureSpec, num_shards: int, files: sharded_output.ShardFiles
    ) -> None:
        super().__init__()
        self._spec = spec
        self._num_shards = num_shards
        self._files = files

    def expand(self, tables: Any) -> Any:
        """Groups the inputs by shard."""
        keyed = [
            part | f"Kind{kind}" >> beam.Map(_of_kind, kind)
            for kind, part in zip((_ENTITY, _TALLY, _FRESH), tables, strict=True)
        ]
        return (
            [*keyed, sharded_output.every_shard(tables[0].pipeline, self._num_shards)]
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.FlatMap(_build, self._spec, self._files).with_outputs(
                records.TRAINED, records.FRESH, reading.COUNTS, main="written"
            )
        )


def _of_kind(part: tuple[int, bytes], kind: int) -> tuple[int, tuple[int, bytes]]:
    return part[0], (kind, part[1])


def corpus_examples(entities: pa.Table, spec: FeatureSpec) -> pa.Table:
    """Candidates as examples: the columns are named as the features."""
    columns = {
        feature.name: entities[batches.value_column(feature)] for feature in spec.candidate.features
    }
    columns["_candidate_id"] = entities["entity_id"]
    columns["_title"] = entities["title"]
    return pa.table(columns)


def _build(
    group: tuple[int, Iterable[tuple[int, bytes]]],
    spec: FeatureSpec,
    files: sharded_output.ShardFiles,
) -> Iterator[Any]:
    shard, members = group
    parts: dict[int, list[bytes]] = {_ENTITY: [], _TALLY: [], _FRESH: []}
    for kind, part in members:
        if kind in parts:
            parts[kind].append(part)
    entities = batches.unpacked(parts[_ENTITY], batches.entities_schema(spec.candidate.features))
    ids = batches.flat(entities["entity_id"])
    frequencies = {"candidate_id": ids}
    for kind, schema in ((_TALLY, _TALLIES), (_FRESH, _CHOICES)):
        counted = _added(parts[kind], schema)
        at = pc.index_in(ids, value_set=batches.flat(counted["candidate_id"]))
        found = {
            name: pc.fill_null(batches.flat(counted[name]).take(at), 0) for name in schema.names[1:]
        }
        events = found["events"]
        own = entities.drop(["position", "title", "split"]).append_column("events", events)
        own = own.filter(pc.greater(events, 0))
        if own.num_rows:
            tag = records.TRAINED if kind == _TALLY else records.FRESH
            yield pvalue.TaggedOutput(tag, batches.packed(own))
        if kind == _TALLY:
            frequencies |= {"count": found["positives"], "recent_count": found["recent"]}
            number = ("tallied_events", pc.sum(events).as_py() or 0)
            yield pvalue.TaggedOutput(reading.COUNTS, number)
    yield files.write("corpus", shard, corpus_examples(entities, spec))
    yield files.write("frequencies", shard, pa.table(frequencies))
    yield pvalue.TaggedOutput(reading.COUNTS, ("candidates", entities.num_rows))


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
    parse = records.EntityParser(spec.candidates, spec.candidate.features, "candidate")
    reader = reading.Reading(source, parse)
    found: list[reading.BadRecord] = []
    tables, said = [parse.schema.empty_table()], []
    for part in table_parts.parts_of(source):
        if part.opens_file:
            said += reader.notes.said()
            reader.notes = delimited.FileNotes()
        for table, bad in reader.tables(part):
            tables.append(table)
            found += bad
    first, repeats = batches.first_of_each(pa.concat_tables(tables))
    first = first.take(pc.sort_indices(first["position"]))
    for record in repeats.select(["position", "entity_id"]).to_pylist():
        found.append(
            reading.bad_record(source.table, record["position"], record["entity_id"], DUPLICATE)
        )
    encoded = example_columns.encode_examples(corpus_examples(first, spec))
    examples = [example for part in encoded for example in part.to_pylist()]
    described: dict[str, list[str]] = {"": []}
    for _, position, _, reason, value, column in sorted(found):
        shown = f"{reason} (found {value})" if value else reason
        described.setdefault(column, []).append(f"{source.describe(position)}: {shown}")
    bad_records = described.pop("")
    return CandidateTable(
        examples,
        bad_records,
        said + reader.notes.said(),
        described,
        dict(reader.watch.seen()),
    )
