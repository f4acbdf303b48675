"""What is written of a shard's queries: examples, interactions, evaluated and known queries.

Tables with a row for each, whose columns are named as the features of a `tf.train.Example`, or as
the columns of a Parquet file. Plain functions; no Beam.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.transforms import batches, example_columns, query_partition, records
from tfrs_twotower import specs

_Numbers = NDArray[np.int64]


def examples(partition: query_partition.Partition, split: int) -> tuple[pa.Table, int]:
    """Examples of the positive events of the training or validation window.

    With `leave_one_out` a training example sees all other training events, and an example of a
    later split the events before it; both without their own candidate.

    Where only new pairs count (`split.new_pairs_only`), only the first positive event of a pair
    (the first kept one, if one is kept) is an example, so that training has the task of evaluation.

    Returns:
        The examples, sorted by time, query and candidate, and the number of events that are too old
        to be kept and have no example.
    """
    new_pairs_only = partition.spec.split.new_pairs_only
    shown = partition.shown(split + 1)
    own = np.flatnonzero(shown.events.positive)
    if new_pairs_only:
        own = own[_first_of_pairs(shown.events.of(own))]
    own = own[shown.events.split[own] == split]
    events = shown.events.of(own)
    dropped = partition.beyond_limit(split)
    older: tuple[_Numbers, ...] = ()
    if split == specs.TRAIN and dropped and not needs_order(partition.spec):
        dropped = 0
        old = _older(partition, shown, new_pairs_only=new_pairs_only)
        older = (old.query, old.candidate)
        both = (vars(events), vars(old))
        events = query_partition.Events(
            **{name: np.concatenate([part[name] for part in both]) for name in both[0]}
        )
    columns = _static(partition, events.query)
    for feature in partition.spec.histories:
        columns[feature.name] = shown.of_examples(feature, split, own, older)
    columns |= _times(partition.spec, events.time)
    columns["_candidate_id"] = partition.texts(events.candidate)
    columns["_timestamp"] = pa.array(events.time)
    columns["_label"] = pa.array(events.label.astype(np.float32))
    columns["_weight"] = pa.array(events.weight.astype(np.float32))
    table = pa.table(columns)
    order = np.lexsort((events.candidate, events.query, events.time))
    sorted_events = events.of(order)
    return table.take(pa.array(_by_bytes(table, order, sorted_events))), dropped


def needs_order(spec: specs.FeatureSpec) -> bool:
    """Whether the history of a training example depends on the events before it."""
    return any(feature.window == "before" for feature in spec.histories)


def _older(
    partition: query_partition.Partition, shown: query_partition.Shown, *, new_pairs_only: bool
) -> query_partition.Events:
    """The training events that are examples although they are too old for histories."""
    events = partition.events
    old = events.of((events.split == specs.TRAIN) & events.positive & ~partition.kept)
    if not new_pairs_only:
        return old
    kept = shown.events.of(shown.events.positive)
    old = old.of(_first_of_pairs(old))
    return old.of(~np.isin(_pairs(old), _pairs(kept)))


def _pairs(events: query_partition.Events) -> _Numbers:
    return events.query << 32 | events.candidate


def _first_of_pairs(events: query_partition.Events) -> _Numbers:
    """The places of the first event of each pair of query and candidate, ascending."""
    return np.sort(np.unique(_pairs(events), return_index=True)[1])


def _by_bytes(table: pa.Table, order: _Numbers, events: query_partition.Events) -> _Numbers:
    """The order, in which examples of one time, query and candidate are sorted by their bytes."""
    is_next = np.zeros(len(order), bool)
    same = (events.time[1:] == events.time[:-1]) & (events.query[1:] == events.query[:-1])
    is_next[1:] = same & (events.candidate[1:] == events.candidate[:-1])
    if not is_next.any():
        return order
    tied = is_next | np.append(is_next[1:], False)
    run = np.cumsum(~is_next)[tied]
    places = order[tied]
    encoded = example_columns.encode_examples(table.take(pa.array(places)))
    payloads = [payload for part in encoded for payload in part.to_pylist()]
    within = sorted(range(len(places)), key=lambda at: (run[at], payloads[at]))
    order = order.copy()
    order[tied] = places[within]
    return order


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
