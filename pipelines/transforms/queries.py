"""Groups events and records by query; makes each query's examples, interactions and counts."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from pipelines.transforms import (
    corpus,
    query_events,
    query_examples,
    reading,
    records,
    sharded_output,
    splits,
    watched_cells,
)
from tfrs_twotower import specs
from tfrs_twotower.artifacts import shard_of

REFIT_OUTPUT = "fresh"
"""Name on disk of the examples of the validation window, which only a refit trains on."""
EVALUATIONS = "evaluations"
TALLIES = "tallies"
FRESH_CHOICES = "fresh_choices"
WINDOWS = "windows"
_ENTITY, _EVENT = 0, 1
_POSITION = records.Event._fields.index("position")
_TIME = records.Event._fields.index("timestamp")
Timed = tuple[int, tuple[Any, ...]]
SplitRule = Callable[[int, tuple[Any, ...]], int | str]
"""Takes the split time and the event; gives the split, or the reason why the event has none."""


class BuildQueries(beam.PTransform):
    """Turns events `(split time, event)`, `queries` and `cutoffs` into all outputs about queries.

    Outputs:
        items: output items of `train`, `fresh` (the refit examples), `interactions` and `queries`.
        evaluations: `((split, query id), (draft bytes, [(candidate id, gain)]))`.
        tallies: `(candidate id, (timestamp, positive))` of training events.
        windows: `(split, (events, positives, first second, last second))` of a query.
        fresh_choices: candidate ids of the events of the validation window.
        trained, fresh: `Trained` queries, by the events of the training and validation window.
        bad, counts, forms: as in `ReadTable`.
    """

    def __init__(self, spec: specs.FeatureSpec, num_shards: int, limit: int) -> None:
        super().__init__()
        self._do = _BuildQuery(spec, num_shards, limit)

    def expand(self, tables: Any) -> Any:
        """Groups by query id; `queries` and `cutoffs` may be absent."""
        keyed = [
            tables["events"] | "EventKey" >> beam.Map(lambda timed: (timed[1][0], (_EVENT, timed)))
        ]
        if "queries" in tables:
            keyed.append(tables["queries"] | "QueryKey" >> beam.Map(lambda q: (q[0], (_ENTITY, q))))
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
                main=sharded_output.ITEMS,
            )
        )


class _BuildQuery(beam.DoFn):
    def __init__(self, spec: specs.FeatureSpec, num_shards: int, limit: int) -> None:
        self._spec = spec
        self._num_shards = num_shards
        self._limit = limit
        self._id_columns = [spec.queries.id if spec.queries else spec.interactions.query_id]
        self._builder = query_examples.QueryExampleBuilder(spec)

    def process(
        self, group: tuple[str, Iterable[tuple[int, Any]]], cutoffs: splits.Cutoffs | None
    ) -> Iterator[Any]:
        query_id, members = group
        entity, repeats = corpus.first_of(record for kind, record in members if kind == _ENTITY)
        if entity is not None:
            yield pvalue.TaggedOutput(reading.COUNTS, ("query_records", 1))
        for position in repeats:
            record = reading.bad_record("queries", position, query_id, "duplicate query id")
            yield pvalue.TaggedOutput(reading.BAD, record)
        timed = _TimedEvents(members)
        events = query_events.QueryEvents(self._limit)
        split_of = self._split_rule(entity, timed, cutoffs)
        yield from self._gather(query_id, timed, split_of, events)
        has_events = any(of_split.count for of_split in events.splits)
        if not has_events and entity is None:
            return
        events.sort()
        values = (
            records.missing_values(self._spec.query.features, self._id_columns, query_id)
            if entity is None
            else records.Entity(*entity).values
        )
        yield pvalue.TaggedOutput(reading.COUNTS, ("known_queries", 1))
        key = ("queries", shard_of(query_id, self._num_shards))
        yield key, self._builder.known(query_id, values, events)
        if not has_events:
            yield pvalue.TaggedOutput(reading.COUNTS, ("queries_without_interactions", 1))
            return
        if entity is None and self._spec.queries is not None:
            number = sum(of_split.count for of_split in events.splits)
            yield pvalue.TaggedOutput(reading.COUNTS, ("interactions_without_query_record", number))
            first = (min(event[_POSITION] for _, event in timed), query_id, query_id)
            form = ("interactions", self._spec.interactions.query_id, watched_cells.NO_RECORD)
            yield pvalue.TaggedOutput(reading.FORMS, (form, (number, [first])))
        yield from self._examples(query_id, values, events, self._with_split(timed, split_of))
        yield from self._windows(query_id, values, events)
        yield from self._evaluations(query_id, values, events, cutoffs)

    def _gather(
        self,
        query_id: str,
        timed: Iterable[Timed],
        split_of: SplitRule,
        events: query_events.QueryEvents,
    ) -> Iterator[Any]:
        """Adds every event to its split; yields interactions, tallies and bad records."""
        shard = shard_of(query_id, self._num_shards)
        for split, event in self._with_split(timed, split_of):
            if isinstance(split, str):
                record = reading.bad_record("interactions", event.position, query_id, split)
                yield pvalue.TaggedOutput(reading.BAD, record)
                continue
            events.add(split, event)
            time, position, candidate_id, label, weight, positive = event
            yield (
                ("interactions", shard),
                (query_id, time, candidate_id, position, label, weight, split, positive),
            )
            if split == specs.TRAIN:
                yield pvalue.TaggedOutput(TALLIES, (candidate_id, (time, positive)))
            elif split == specs.VALIDATION:
                yield pvalue.TaggedOutput(FRESH_CHOICES, candidate_id)

    def _with_split(
        self, timed: Iterable[Timed], split_of: SplitRule
    ) -> Iterator[tuple[int | str, query_events.QueryEvent]]:
        min_label = self._spec.relevance.min_label
        for split_time, event in timed:
            _, candidate_id, time, label, weight, _, _, position = event
            positive = min_label is None or label >= min_label
            query_event = query_events.QueryEvent(
                time, position, candidate_id, label, weight, positive
            )
            yield split_of(split_time, event), query_event

    def _split_rule(
        self, entity: tuple[Any, ...] | None, timed: Iterable[Timed], cutoffs: splits.Cutoffs | None
    ) -> SplitRule:
        """The rule that splits the events of this query."""
        split = self._spec.split
        if isinstance(split, specs.PerQueryLastSplit):
            by_order = splits.split_by_order(split, ((e[_TIME], e[_POSITION]) for _, e in timed))
            return lambda _, event: by_order(event[_TIME], event[_POSITION])
        if isinstance(split, specs.GivenSplit):
            return self._given_rule(split, entity)
        assert cutoffs is not None
        return lambda split_time, _: cutoffs.split_at(split_time)

    def _given_rule(self, split: specs.GivenSplit, entity: tuple[Any, ...] | None) -> SplitRule:
        column = records.Event._fields.index("split")
        allowed = ", ".join((split.train, split.validation, split.test))
        on_event = self._spec.interactions.split is not None
        of_query = "" if entity is None else records.Entity(*entity).split

        def rule(_: int, event: tuple[Any, ...]) -> int | str:
            if not on_event and entity is None:
                return "its query has no record, so its split is not known"
            name = event[column] if on_event else of_query
            code = splits.split_by_name(split, name)
            return f"split '{name}' is none of {allowed}" if code is None else code

        return rule

    def _examples(
        self,
        query_id: str,
        values: Any,
        events: query_events.QueryEvents,
        with_split: Iterable[tuple[int | str, query_events.QueryEvent]],
    ) -> Iterator[Any]:
        shard = shard_of(query_id, self._num_shards)
        dropped = 0
        for split, name in ((specs.TRAIN, "train"), (specs.VALIDATION, REFIT_OUTPUT)):
            older: Iterable[query_events.QueryEvent] = ()
            if events.splits[split].beyond_limit:
                if split == specs.TRAIN and not self._builder.needs_order:
                    older = (
                        event
                        for event_split, event in with_split
                        if event_split == specs.TRAIN
                        and event.positive
                        and not events.is_kept(specs.TRAIN, event)
                    )
                else:
                    dropped += events.splits[split].beyond_limit
            made = self._builder.training_item(query_id, values, events, split, older)
            if made is not None:
                item, number = made
                yield (name, shard), item
                yield pvalue.TaggedOutput(reading.COUNTS, (f"{name}_examples", number))
        if dropped:
            yield pvalue.TaggedOutput(reading.COUNTS, ("events_without_example", dropped))

    @staticmethod
    def _windows(query_id: str, values: Any, events: query_events.QueryEvents) -> Iterator[Any]:
        for split, own in enumerate(events.splits):
            if own.count:
                window = (own.count, own.num_positives, own.first_s, own.last_s)
                yield pvalue.TaggedOutput(WINDOWS, (split, window))
        if events.splits[specs.TRAIN].count:
            yield pvalue.TaggedOutput(reading.COUNTS, ("train_queries", 1))
        for split, tag in ((specs.TRAIN, records.TRAINED), (specs.VALIDATION, records.FRESH)):
            if events.splits[split].count:
                yield pvalue.TaggedOutput(tag, (events.splits[split].count, values, query_id))

    def _evaluations(
        self,
        query_id: str,
        values: Any,
        events: query_events.QueryEvents,
        cutoffs: splits.Cutoffs | None,
    ) -> Iterator[Any]:
        rules = self._spec.split
        for split in query_events.EVALUATED:
            name = specs.SPLITS[split]
            if not events.splits[split].count:
                continue
            if rules.known_queries_only and not events.splits[specs.TRAIN].count:
                yield pvalue.TaggedOutput(reading.COUNTS, (f"{name}_queries_unknown", 1))
                continue
            seen = events.seen_before(split) if rules.new_pairs_only else set()
            has_label = self._spec.interactions.label is not None
            gains = [
                (candidate_id, gain if has_label else 1.0)
                for candidate_id, gain in sorted(events.splits[split].gains.items())
                if candidate_id not in seen
            ]
            if not gains:
                yield pvalue.TaggedOutput(reading.COUNTS, (f"{name}_queries_empty", 1))
                continue
            draft = self._builder.evaluation(
                query_id, values, events, split, cutoffs=cutoffs, seen=sorted(seen)
            )
            yield pvalue.TaggedOutput(EVALUATIONS, ((split, query_id), (draft, gains)))


class _TimedEvents:
    """The events of a group; each iteration reads the group again, so that none is held."""

    def __init__(self, members: Iterable[tuple[int, Any]]) -> None:
        self._members = members

    def __iter__(self) -> Iterator[Timed]:
        return (record for kind, record in self._members if kind == _EVENT)
