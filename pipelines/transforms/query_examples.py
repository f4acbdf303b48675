"""What is written of a shard's queries: examples, interactions, evaluated and known queries.

Tables with a row for each, whose columns are named as the features of a `tf.train.Example`, or as
the columns of a Parquet file. Plain functions; no Beam.
"""

from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.transforms import batches, query_partition, records
from tfrs_twotower import specs
from tfrs_twotower.data import example_shards

_Numbers = NDArray[np.int64]


class Training(NamedTuple):
    """What the examples of a shard in one window are made of; see `example_shards`."""

    queries: pa.Table
    events: pa.Table
    dropped: int
    """Events of the window that are too old to be kept and have no example."""


def training(partition: query_partition.Partition, split: int) -> Training:
    """The events that histories see up to a window, and those of the window itself.

    Events beyond the limit are examples of the training window, too, where their histories do not
    depend on the events before them.
    """
    spec, events = partition.spec, partition.events
    chosen = partition.kept & (events.split <= split)
    dropped = partition.beyond_limit(split)
    if split == specs.TRAIN and not needs_order(spec):
        chosen |= events.positive & (events.split == split)
        dropped = 0
    own, kept = events.of(chosen), partition.kept[chosen]
    columns = {
        "query": own.query,
        "candidate_id": partition.texts(own.candidate),
        "moment": own.time if spec.interactions.timestamp is not None else own.position,
        "timestamp": own.time,
        "label": own.label,
        "weight": own.weight,
        "positive": own.positive,
        "own": own.split == split,
        "kept": kept,
    }
    queries = {example_shards.QUERY_ID: partition.ids, **partition.values}
    return Training(pa.table(queries), pa.table(columns), dropped)


def write_training(
    spec: specs.FeatureSpec, split: int, stream: IO[bytes], training: Training
) -> int:
    """Writes the examples of a shard; returns their number."""
    return example_shards.write_examples(stream, spec, split, training.queries, training.events)


def needs_order(spec: specs.FeatureSpec) -> bool:
    """Whether the history of a training example depends on the events before it."""
    return any(feature.window == "before" for feature in spec.histories)


def _static(partition: query_partition.Partition, queries: _Numbers) -> dict[str, Any]:
    """The values of the queries that do not come from events, and their ids."""
    take = pa.array(queries)
    columns = {name: values.take(take) for name, values in partition.values.items()}
    columns["_query_id"] = partition.ids.take(take)
    return columns


def _times(spec: specs.FeatureSpec, times: Any) -> dict[str, Any]:
    """The features that are the time of the event."""
    if not spec.interactions.has_times:
        times = np.full(len(times), specs.MISSING_TIME)
    return {
        feature.name: pa.array(times, pa.int64())
        for feature in spec.query.features
        if isinstance(feature, specs.TimestampFeature) and records.from_event(feature)
    }


def evaluated(
    partition: query_partition.Partition, split: int, asked: NDArray[np.bool_]
) -> pa.Table:
    """The evaluated queries of a split at its cut-off: those asked that have a relevant candidate.

    A query's time is the cut-off of a temporal split, otherwise the time of its first event. Its
    row has `split` beside the features of the example.
    """
    spec = partition.spec
    query, candidate, gain = partition.gains(split)
    is_asked = asked[query]
    query, candidate, gain = query[is_asked], candidate[is_asked], gain[is_asked]
    own, number = np.unique(query, return_counts=True)
    take, offsets = pa.array(own), np.concatenate([[0], np.cumsum(number)])
    shown = partition.shown(split)
    columns = _static(partition, own)
    for feature in spec.histories:
        columns[feature.name] = shown.latest(feature, own)
    times = partition.first_time(split)[own]
    if partition.cutoffs is not None:
        is_validation = split == specs.VALIDATION
        cutoffs = partition.cutoffs
        times[:] = cutoffs.validation_from if is_validation else cutoffs.test_from
    columns |= _times(spec, times)
    columns["_timestamp"] = pa.array(times)
    seen = pa.array([[]] * len(own), pa.list_(pa.string()))
    if spec.split.new_pairs_only:
        seen = partition.seen_before(split).take(take)
    columns["_seen"] = seen
    columns["_num_events"] = pa.array(partition.count[:split].sum(0)[own])
    columns["_relevant"] = batches.lists_of(offsets, partition.texts(candidate))
    columns["_gain"] = batches.lists_of(offsets, pa.array(gain.astype(np.float32)))
    columns["split"] = pa.array(np.full(len(own), split))
    return pa.table(columns)


def known(partition: query_partition.Partition, queries: _Numbers) -> pa.Table:
    """Queries as a server should be asked for them after all their events, sorted by id.

    Their own time, which a request brings, is null, and `_seen` has the candidates that an answer
    leaves out.
    """
    spec, now = partition.spec, len(specs.SPLITS)
    shown, take = partition.shown(now), pa.array(queries)
    columns = _static(partition, queries)
    seen = pa.array([[]] * len(queries), pa.list_(pa.string()))
    columns["_seen"] = partition.seen_before(now).take(take) if spec.split.new_pairs_only else seen
    for feature in spec.query.features:
        if isinstance(feature, specs.HistoryFeature):
            columns[feature.name] = shown.latest(feature, queries)
        elif feature.name not in columns:
            columns[feature.name] = pa.nulls(len(queries), pa.int64())
    return pa.table(columns)


def interactions(partition: query_partition.Partition, events: query_partition.Events) -> pa.Table:
    """Events with the names of their splits."""
    names = pa.array(specs.SPLITS, pa.string())
    return pa.table(
        {
            "query_id": partition.ids.take(pa.array(events.query)),
            "candidate_id": partition.texts(events.candidate),
            "timestamp": pa.array(events.time),
            "label": pa.array(events.label.astype(np.float32)),
            "weight": pa.array(events.weight.astype(np.float32)),
            "split": names.take(pa.array(events.split)),
            "positive": pa.array(events.positive),
        }
    )
