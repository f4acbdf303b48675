"""All events of the queries of one shard, by columns: splits, histories, judgements. No Beam.

Events are in the order of (query, time, source position) throughout. Every event counts for the
figures that evaluation needs; only the most recent `limit` events of a query in each split are kept
for histories and examples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.transforms import batches, histories, records, splits
from tfrs_twotower import specs
from tfrs_twotower.ranking.sorting import contains, distinct, is_first, order_by

Bools = NDArray[np.bool_]
Numbers = NDArray[np.int64]
EVALUATED = (specs.VALIDATION, specs.TEST)
"""Codes of the evaluated splits."""


@dataclass(frozen=True)
class Events:
    """Events in order; `[num_events]` each."""

    query: Numbers
    """Places in the sorted ids of the queries."""
    candidate: Numbers
    """Places in the sorted ids of the candidates."""
    time: Numbers
    position: Numbers
    label: NDArray[np.float64]
    weight: NDArray[np.float64]
    positive: Bools
    split: Numbers

    def __len__(self) -> int:
        return len(self.query)

    def of(self, chosen: Any) -> "Events":
        """Some of the events."""
        return Events(**{name: values[chosen] for name, values in vars(self).items()})


class Partition:
    """The queries of one shard and their events.

    Args:
        spec: the feature spec.
        limit: number of events that are kept of each query and split.
        events: a table of timed events.
        queries: records of queries, each id once, sorted.
        cutoffs: of a temporal split.
    """

    def __init__(
        self,
        spec: specs.FeatureSpec,
        limit: int,
        events: pa.Table,
        queries: pa.Table,
        cutoffs: splits.Cutoffs | None,
    ) -> None:
        self.spec, self._limit = spec, limit
        self.cutoffs = cutoffs
        self.ids, (of_event, of_record) = batches.ranked(events["query_id"], queries["entity_id"])
        self.candidate_ids, (candidate,) = batches.ranked(events["candidate_id"])
        self.has_record = np.zeros(len(self.ids), bool)
        self.has_record[of_record] = True
        self._record_of = np.full(len(self.ids), -1)
        self._record_of[of_record] = np.arange(len(of_record))
        self._queries = queries
        time, position = (batches.numbers(events, name) for name in ("timestamp", "position"))
        order = order_by(of_event, time, position)
        label = batches.numbers(events, "label")[order]
        least = spec.relevance.min_label
        everything = Events(
            of_event[order],
            candidate[order],
            time[order],
            position[order],
            label,
            batches.numbers(events, "weight")[order],
            np.full(len(order), True) if least is None else label >= least,
            np.zeros(len(order), np.int64),
        )
        split, self._refused = self._split(everything, events.take(pa.array(order)))
        vars(everything)["split"][:] = split
        self._first_position = _least(everything.position, everything.query, len(self.ids))
        is_good = split >= 0
        self._bad = everything.of(~is_good)
        self.events = everything if is_good.all() else everything.of(is_good)
        self.count = np.stack(
            [
                np.bincount(self.events.query[self.events.split == one], minlength=len(self.ids))
                for one in range(len(specs.SPLITS))
            ]
        )
        """Events of each split and query, `[3, num_queries]`."""

    def _split(self, events: Events, table: pa.Table) -> tuple[Numbers, list[str]]:
        """The split of each event, or -1, and the reason of each of those."""
        rule = self.spec.split
        if isinstance(rule, specs.PerQueryLastSplit):
            starts = batches.starts_of(events.query, len(self.ids))
            return splits.split_by_order(rule, starts), []
        if not isinstance(rule, specs.GivenSplit):
            assert self.cutoffs is not None
            return self.cutoffs.split_at(batches.numbers(table, batches.SPLIT_TIME)), []
        if self.spec.interactions.split is not None:
            names = batches.flat(table["split"])
        else:
            record = self._record_of[events.query]
            of_record = pa.array(record, mask=record < 0)  # a query without a record has no split
            names = batches.flat(self._queries["split"]).cast(pa.string()).take(of_record)
        return splits.split_by_names(rule, names)

    def refused(self) -> Iterator[tuple[int, str, str]]:
        """Position, query id and reason of each event that has no split."""
        ids = self.ids.take(pa.array(self._bad.query)).to_pylist()
        yield from zip(self._bad.position.tolist(), ids, self._refused, strict=True)

    @cached_property
    def has_events(self) -> Bools:
        """`[num_queries]`: whether an event of the query has a split."""
        return np.asarray(self.count.sum(0) > 0)

    def without_record(self) -> tuple[int, list[tuple[int, str, str]]]:
        """Number of events whose query has no record; first event and id of such queries."""
        queries = np.flatnonzero(self.has_events & ~self.has_record)
        ids = self.ids.take(pa.array(queries)).to_pylist()
        first = self._first_position[queries].tolist()
        number = int(self.count[:, queries].sum())
        return number, [(at, one, one) for at, one in zip(first, ids, strict=True)]

    @cached_property
    def values(self) -> dict[str, pa.Array]:
        """The values of each query's own features, by the names of the features."""
        features = self.spec.query.features
        own = [feature for feature in features if not records.from_event(feature)]
        if not own:
            return {}
        columns = self.spec.queries.id if self.spec.queries else self.spec.interactions.query_id
        missing = np.flatnonzero(self._record_of < 0)
        made = [
            records.missing_values(own, [columns], one)
            for one in self.ids.take(pa.array(missing)).to_pylist()
        ]
        places = self._record_of.copy()
        places[missing] = self._queries.num_rows + np.arange(len(missing))
        values = {}
        for at, feature in enumerate(own):
            kind = batches.type_of(feature)
            column = batches.value_column(feature)
            known = (
                batches.flat(self._queries[column])
                if column in self._queries.column_names
                else pa.array([], kind)
            )
            both = pa.concat_arrays([known, pa.array([row[at] for row in made], kind)])
            values[feature.name] = both.take(pa.array(places))
        return values

    @cached_property
    def kept(self) -> Bools:
        """`[num_events]`: the most recent ones of each query and split."""
        events, kept = self.events, np.zeros(len(self.events), bool)
        for split in range(len(specs.SPLITS)):
            own = np.flatnonzero(events.split == split)
            ends = batches.starts_of(events.query[own], len(self.ids))[1:]
            kept[own] = ends[events.query[own]] - np.arange(len(own)) <= self._limit
        return kept

    def beyond_limit(self, split: int) -> int:
        """Number of events of a split that are not kept."""
        return int(np.count_nonzero((self.events.split == split) & ~self.kept))

    def first_time(self, split: int) -> Numbers:
        """`[num_queries]`: time of the first event in a split, 0 without one."""
        own = self.events.of(self.events.split == split)
        starts = batches.starts_of(own.query, len(self.ids))
        first = np.append(own.time, 0)[np.minimum(starts[:-1], len(own))]
        return np.where(starts[1:] > starts[:-1], first, 0)

    def pairs(self, chosen: Bools) -> tuple[Numbers, Numbers]:
        """The distinct pairs of query and candidate among some events, sorted."""
        keys = distinct(self._pair_keys(self.events.of(chosen)))
        width = max(len(self.candidate_ids), 1)
        return keys // width, keys % width

    def _pair_keys(self, events: Events) -> Numbers:
        return events.query * max(len(self.candidate_ids), 1) + events.candidate

    def seen_before(self, split: int) -> pa.ListArray:
        """Candidates of all events in earlier splits of each query, whatever the label, sorted."""
        query, candidate = self.pairs(self.events.split < split)
        offsets = batches.starts_of(query, len(self.ids))
        return batches.lists_of(offsets, self.candidate_ids.take(pa.array(candidate)))

    def gains(self, split: int) -> tuple[Numbers, Numbers, NDArray[np.float64]]:
        """Query, candidate and highest label of each pair that is relevant in a split, sorted."""
        events = self.events
        own = events.of((events.split == split) & events.positive)
        keys = self._pair_keys(own)
        order = order_by(keys, -own.label)
        order = order[is_first(keys[order])]
        pairs, gain = keys[order], own.label[order]
        if self.spec.interactions.label is None:
            gain = np.ones_like(gain)
        if self.spec.split.new_pairs_only:
            new = ~contains(distinct(self._pair_keys(events.of(events.split < split))), pairs)
            pairs, gain = pairs[new], gain[new]
        width = max(len(self.candidate_ids), 1)
        return pairs // width, pairs % width, gain

    def shown(self, before: int) -> "Shown":
        """The kept events of the splits before one, which histories and examples see."""
        return Shown(self, self.events.of(self.kept & (self.events.split < before)))

    def texts(self, candidates: Numbers) -> pa.Array:
        """The ids of candidates."""
        return self.candidate_ids.take(pa.array(candidates))


class Shown:
    """Events of a partition that histories may hold."""

    def __init__(self, partition: Partition, events: Events) -> None:
        self._partition, self.events = partition, events

    def latest(self, feature: specs.HistoryFeature, queries: Numbers) -> pa.ListArray:
        """The history of queries after all these events."""
        own = self.events.of(self.events.positive | (not feature.positives_only))
        stream = histories.Stream(own.query, own.candidate, len(self._partition.ids))
        starts, ends = stream.starts[queries], stream.starts[queries + 1]
        offsets, found = stream.histories(starts, ends, feature.max_length)
        return batches.lists_of(offsets, self._partition.texts(found))


def _least(values: Numbers, groups: Numbers, number: int) -> Numbers:
    least = np.full(number, np.iinfo(np.int64).max)
    np.minimum.at(least, groups, values)
    return least
