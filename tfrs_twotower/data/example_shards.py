"""Shards of training examples: the events of each query once, and examples that point into them.

A shard is an Arrow file of one record batch with a row for every query that has an example, sorted
by id. It is not compressed, so that it can be read where it lies on disk (memory-mapped).

column                  content
`_query_id`             string
a feature of the query  its value: string, list of strings, or float32
`_events:HISTORY`       what histories are cut from, oldest first, a list of
                        `candidate` (of the shard's dictionary) and
                        `until_repeat`: events until the same candidate comes again, 0 for never
`_examples`             a list of `candidate`, `timestamp`, `label`, `weight`,
                        `place`: its number in the order of training, which counts within the shard,
                        `end:HISTORY` and `length:HISTORY`: its history lies among the `length`
                        events before `end`, which counts from the first event of the query

A history has each candidate once, where it came last: event i before `end` belongs to it unless
the same candidate comes again before `end`. HISTORY names the first history of each rule, a pair of
`window` and `positives_only`; histories of one rule share events and pointers. An example without
repeats takes 24 bytes and 8 for each rule, an event 8.

Nothing here loads TensorFlow or Beam: any engine that has the events of some queries in columns can
write a shard.
"""

from collections.abc import Mapping, Sequence
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tfrs_twotower import specs
from tfrs_twotower.data import known_queries
from tfrs_twotower.data.histories import lengths_to_scan, until_repeat
from tfrs_twotower.ranking.sorting import order_by

QUERY_ID, EVENTS, EXAMPLES = "_query_id", "_events:", "_examples"
EVENT_COLUMNS = pa.schema(
    [
        ("query", pa.int32()),
        ("candidate_id", pa.string()),
        ("moment", pa.int64()),
        ("timestamp", pa.int64()),
        ("label", pa.float32()),
        ("weight", pa.float32()),
        ("positive", pa.bool_()),
        ("own", pa.bool_()),
        ("kept", pa.bool_()),
    ]
)
"""Columns that `write_examples` takes for the events of a partition."""
_CANDIDATE = pa.dictionary(pa.int32(), pa.string())


def rules(features: Sequence[specs.Feature]) -> dict[str, list[specs.HistoryFeature]]:
    """The histories by the name of the first one that is cut from the same events by one rule."""
    by_rule: dict[tuple[str, bool], list[specs.HistoryFeature]] = {}
    for feature in features:
        if isinstance(feature, specs.HistoryFeature):
            by_rule.setdefault((feature.window, feature.positives_only), []).append(feature)
    return {histories[0].name: histories for histories in by_rule.values()}


def static_features(features: Sequence[specs.Feature]) -> list[specs.Feature]:
    """The features that a query has once, whatever its events."""
    return [
        feature
        for feature in features
        if not isinstance(feature, specs.HistoryFeature) and not has_time_of_event(feature)
    ]


def has_time_of_event(feature: specs.Feature) -> bool:
    """Whether a query feature is the time of the event."""
    return isinstance(feature, specs.TimestampFeature) and feature.column is None


def queries_schema(features: Sequence[specs.Feature]) -> pa.Schema:
    """Columns that `write_examples` takes for the queries of a partition: id and own values."""
    known = known_queries.schema_of(static_features(features))
    return pa.schema([known.field(name) for name in known.names if name != known_queries.SEEN])


def write_examples(
    stream: IO[bytes],
    spec: specs.FeatureSpec,
    split: int,
    queries: pa.Table,
    events: pa.Table,
) -> int:
    """Writes the shard of one partition: all examples of its queries in the window of a split.

    An example is a positive event of the window; where only new pairs count
    (`split.new_pairs_only`), the first one of each pair that the events show, kept ones before
    others. Its histories are those of `HistoryFeature.window`: of strictly earlier moments, or, in
    the training window of `leave_one_out`, of all kept events without its own candidate.

    Args:
        stream: receives the bytes; equal inputs give equal bytes.
        spec: the feature spec.
        split: `specs.TRAIN`, or `specs.VALIDATION` for the examples that a refit adds.
        queries: columns of `queries_schema`, each query once, in any order; those without an
            example are left out.
        events: columns of `EVENT_COLUMNS` (others are ignored, and types are cast), where each
            query's events are in the order of (timestamp, position):

            *   `query`: row in `queries`;
            *   `moment`: events of one moment do not see each other: the timestamp, or the position
                in data without times or order;
            *   `positive`: whether the label counts as a choice;
            *   `own`: whether the event is of the window of the split; the others are earlier
                events, which only histories see;
            *   `kept`: whether histories see the event; False for the oldest events of a query
                with more than `preprocess.max_history_events`, which become examples where the
                histories are `leave_one_out` and are not given otherwise.

    Returns:
        The number of examples.
    """
    features = spec.query.features
    schema = queries_schema(features)
    queries = queries.select(schema.names).cast(schema).combine_chunks()
    events = events.select(EVENT_COLUMNS.names)
    by_id = pc.sort_indices(queries[QUERY_ID]).to_numpy()
    rank = np.empty(len(by_id), np.int32)
    rank[by_id] = np.arange(len(by_id), dtype=np.int32)
    of_query = rank[_numpy(events, "query")]
    in_order = np.argsort(of_query, kind="stable")
    texts = events["candidate_id"].cast(pa.string())
    chunks = texts.chunks or [pa.array([], pa.string())]
    dictionary, [codes] = ranked(pa.concat_arrays(chunks))
    columns = {name: _numpy(events, name)[in_order] for name in EVENT_COLUMNS.names[2:]}
    partition = _Partition(of_query[in_order], codes.astype(np.int32)[in_order], **columns)
    chosen = partition.examples(new_pairs_only=spec.split.new_pairs_only)
    with_example = np.zeros(len(queries), bool)
    with_example[partition.query[chosen]] = True
    partition, chosen = partition.of(with_example, chosen)
    query, candidate = partition.query[chosen], partition.candidate[chosen]
    label, weight = partition.label[chosen], partition.weight[chosen]
    timestamp = partition.timestamp[chosen]
    place = np.empty(len(chosen), np.int32)
    order = order_by(timestamp, query, candidate, label, weight)
    place[order] = np.arange(len(chosen), dtype=np.int32)
    examples: dict[str, Any] = {"candidate": pa.DictionaryArray.from_arrays(candidate, dictionary)}
    examples |= {"timestamp": timestamp, "label": label, "weight": weight, "place": place}
    kept_queries = queries.take(by_id[with_example])
    table = {name: kept_queries[name].combine_chunks() for name in schema.names}
    num_queries = len(kept_queries)
    for name, histories in rules(features).items():
        longest = max(feature.max_length for feature in histories)
        stream_of, until, ends, lengths = partition.pointers(histories[0], longest, split, chosen)
        shown = partition.candidate[stream_of]
        lists = {
            "candidate": pa.DictionaryArray.from_arrays(shown, dictionary),
            "until_repeat": until,
        }
        table[EVENTS + name] = _lists(partition.query[stream_of], num_queries, lists)
        examples |= {f"end:{name}": ends, f"length:{name}": lengths}
    table[EXAMPLES] = _lists(query, num_queries, examples)
    batch = pa.RecordBatch.from_arrays(list(table.values()), names=list(table))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    stream.write(sink.getvalue())
    return len(chosen)


class _Partition(NamedTuple):
    """The events of some queries, by query and then in the order of time; `[num_events]` each."""

    query: NDArray[np.int32]
    candidate: NDArray[np.int32]
    """Positions in a sorted list of ids."""
    moment: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    label: NDArray[np.float32]
    weight: NDArray[np.float32]
    positive: NDArray[np.bool_]
    own: NDArray[np.bool_]
    kept: NDArray[np.bool_]

    def examples(self, *, new_pairs_only: bool) -> NDArray[np.int64]:
        """The events that are examples, ascending."""
        if not new_pairs_only:
            return np.flatnonzero(self.positive & self.own)
        positives = np.flatnonzero(self.positive)
        query, candidate = self.query[positives], self.candidate[positives]
        pairs = order_by(query, candidate, ~self.kept[positives])
        first = np.ones(len(pairs), bool)
        repeated = query[pairs[1:]] == query[pairs[:-1]]
        first[1:] = ~(repeated & (candidate[pairs[1:]] == candidate[pairs[:-1]]))
        chosen = np.sort(positives[pairs[first]])
        return chosen[self.own[chosen]]

    def of(
        self, queries: NDArray[np.bool_], events: NDArray[np.int64]
    ) -> tuple["_Partition", NDArray[np.int64]]:
        """The partition of some queries, which are numbered anew, and where these events lie."""
        chosen = queries[self.query]
        number = np.cumsum(queries, dtype=np.int32) - np.int32(1)
        part = _Partition._make(values[chosen] for values in self)
        places = np.cumsum(chosen) - 1
        return part._replace(query=number[part.query]), places[events]

    def pointers(
        self, feature: specs.HistoryFeature, longest: int, split: int, examples: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """What a history is cut from, and the `end` and `length` of the examples.

        That is events, and for each how many follow until its candidate comes again.
        """
        shown = self.kept & self.positive if feature.positives_only else self.kept
        stream = np.flatnonzero(shown)
        before = np.concatenate([[0], np.cumsum(shown)])
        new_query = np.ones(len(self.query), bool)
        new_query[1:] = self.query[1:] != self.query[:-1]
        new_moment = new_query.copy()
        new_moment[1:] |= self.moment[1:] != self.moment[:-1]
        begin = before[np.flatnonzero(new_query)][self.query[examples]]
        ends = before[np.flatnonzero(new_moment)[np.cumsum(new_moment)[examples] - 1]]
        leave_one_out = feature.window == "leave_one_out"
        if leave_one_out and split == specs.TRAIN:
            bounds = np.append(np.flatnonzero(new_query), len(self.query))
            ends = before[bounds[self.query[examples] + 1]]
        until = until_repeat(self.query[stream], self.candidate[stream])
        lengths = lengths_to_scan(until, begin, ends, longest + int(leave_one_out))
        return stream, until, (ends - begin).astype(np.int32), lengths


def _numpy(table: pa.Table, name: str) -> NDArray[Any]:
    values = table[name].cast(EVENT_COLUMNS.field(name).type)
    return np.asarray(values.to_numpy())


def ranked(*columns: pa.Array) -> tuple[pa.Array, list[NDArray[np.int64]]]:
    """The distinct texts of some columns, sorted, and the places of each column's texts in them."""
    encoded = pa.concat_arrays(columns).dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    places = rank[encoded.indices.to_numpy()]
    ends = np.cumsum([len(column) for column in columns])[:-1]
    return encoded.dictionary.take(pa.array(order)), np.split(places, ends)


def _lists(owners: NDArray[np.int32], num_owners: int, columns: Mapping[str, Any]) -> pa.ListArray:
    """A list for each owner of the rows of some columns; the owners ascend."""
    ends = np.cumsum(np.bincount(owners, minlength=num_owners))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    arrays = pa.RecordBatch.from_pydict(columns).columns
    rows = pa.StructArray.from_arrays(arrays, names=list(columns))
    return pa.ListArray.from_arrays(pa.array(offsets), rows)
