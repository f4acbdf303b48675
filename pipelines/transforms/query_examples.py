"""Turns the events of one query into what is written of it. Plain functions; no Beam."""

from collections.abc import Iterable, Sequence
from itertools import compress, islice
from typing import Any, NamedTuple

from pipelines.transforms import query_events, records, splits
from pipelines.transforms import sharded_output as tfrecords
from tfrs_twotower import specs
from tfrs_twotower.data import example_shards

TrainingItem = tuple[str, tuple[records.Value, ...], tuple[tuple[Any, ...], ...]]
"""Id and own values of a query, and its events as columns of `example_shards.EVENT_COLUMNS`."""


class Past(NamedTuple):
    """An event as histories use it; sequences of them are in the order of (timestamp, position)."""

    moment: int
    """The timestamp or the number of the order, or the position in data without either."""
    candidate_id: str
    counts: bool
    """Whether histories include it (`positives_only`)."""


def latest_candidates(events: Iterable[Past], max_length: int | None = None) -> tuple[str, ...]:
    """The candidates of all events, most recent first."""
    recent: dict[str, None] = {}
    for event in events:
        if event.counts:
            recent.pop(event.candidate_id, None)
            recent[event.candidate_id] = None
    return tuple(islice(reversed(recent), max_length))


class QueryExampleBuilder:
    """Builds what a query is in training, and its evaluated queries."""

    def __init__(self, spec: specs.FeatureSpec) -> None:
        self._features: tuple[specs.Feature, ...] = spec.query.features
        self._histories = spec.histories
        static = example_shards.static_features(self._features)
        self._is_static = [feature in static for feature in self._features]
        self._event_times = [f for f in self._features if example_shards.has_time_of_event(f)]
        self._new_pairs_only = spec.split.new_pairs_only
        self._has_time = spec.interactions.has_times
        self._has_order = spec.interactions.timestamp is not None
        self.needs_order = any(feature.window == "before" for feature in self._histories)
        """Whether the history of a training example depends on the events before it."""

    def training_item(
        self,
        query_id: str,
        values: Sequence[records.Value],
        events: query_events.QueryEvents,
        split: int,
        older: Iterable[query_events.QueryEvent] = (),
    ) -> tuple[TrainingItem, int] | None:
        """The events that training examples of a window are cut from, and their number.

        Args:
            query_id: id of the query.
            values: of its features.
            events: its events.
            split: whose positive events are examples; those of earlier splits are histories.
            older: positive training events beyond those that are kept, in any order.

        Returns:
            None if there is no example.
        """
        own = set(events.splits[split].kept)
        rows = [(event, True, False) for event in sorted(older)]
        rows += [(event, event in own, True) for event in events.before(split + 1)]
        met, number = set[str](), 0
        for event, is_own, _ in sorted(rows, key=lambda row: not row[2]):
            if event.positive:
                is_repeat = event.candidate_id in met
                number += is_own and not (is_repeat and self._new_pairs_only)
                met.add(event.candidate_id)
        if not number:
            return None
        cells = tuple(self._cells(*row) for row in rows)
        return (query_id, tuple(compress(values, self._is_static)), cells), number

    def _cells(self, event: query_events.QueryEvent, own: bool, kept: bool) -> tuple[Any, ...]:
        moment = event.timestamp if self._has_order else event.position
        cells = (event.candidate_id, moment, event.timestamp, event.label, event.weight)
        return *cells, event.positive, own, kept

    def evaluation(
        self,
        query_id: str,
        values: Sequence[records.Value],
        events: query_events.QueryEvents,
        split: int,
        *,
        cutoffs: splits.Cutoffs | None,
        seen: Sequence[str],
    ) -> bytes:
        """The evaluated query at the cut-off of a split, without its relevant candidates.

        Its time is the cut-off of a temporal split, otherwise the time of its first event.
        """
        past = events.before(split)
        example = tfrecords.Example()
        tfrecords.put_values(example, self._features, values)
        for feature in self._histories:
            history = latest_candidates(self._as_past(past, feature), feature.max_length)
            tfrecords.put_value(example, feature, history)
        time = events.splits[split].first_s or 0
        if cutoffs is not None:
            time = cutoffs.validation_from if split == specs.VALIDATION else cutoffs.test_from
        self._put_time(example, time)
        tfrecords.put_texts(example, "_query_id", (query_id,))
        tfrecords.put_number(example, "_timestamp", time)
        tfrecords.put_texts(example, "_seen", seen)
        tfrecords.put_number(example, "_num_events", events.count_before(split))
        return tfrecords.serialise(example)

    def known(
        self, query_id: str, values: Sequence[records.Value], events: query_events.QueryEvents
    ) -> tuple[Any, ...]:
        """The query as a server should be asked for it after all its events.

        Returns:
            Its id, the candidates that its answer leaves out, and a value of each feature; None
            where a request brings the value, its own time.
        """
        now = len(specs.SPLITS)
        past = events.before(now)
        current = list(values)
        for place, feature in enumerate(self._features):
            if isinstance(feature, specs.HistoryFeature):
                current[place] = latest_candidates(self._as_past(past, feature), feature.max_length)
        seen = sorted(events.seen_before(now)) if self._new_pairs_only else []
        return query_id, tuple(seen), *current

    def _as_past(
        self, events: Sequence[query_events.QueryEvent], feature: specs.HistoryFeature
    ) -> list[Past]:
        return [
            Past(
                event.timestamp if self._has_order else event.position,
                event.candidate_id,
                event.positive or not feature.positives_only,
            )
            for event in events
        ]

    def _put_time(self, example: Any, time: int) -> None:
        for feature in self._event_times:
            tfrecords.put_value(example, feature, time if self._has_time else specs.MISSING_TIME)


def finish_evaluation(draft: bytes, gains: Sequence[tuple[str, float]]) -> bytes:
    """Adds the relevant candidates and their gains to an evaluated query."""
    example = tfrecords.Example.FromString(draft)
    tfrecords.put_texts(example, "_relevant", [candidate_id for candidate_id, _ in gains])
    tfrecords.put_floats(example, "_gain", [gain for _, gain in gains])
    return tfrecords.serialise(example)
