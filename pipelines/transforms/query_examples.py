"""One query with all its events to its histories and examples. Plain functions; no Beam."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from pipelines.transforms.query_events import Placed, QueryEvents
from pipelines.transforms.records import MISSING_TIME, Value, from_event
from pipelines.transforms.splits import TRAIN, Cutoffs
from pipelines.transforms.tfrecords import (
    Example,
    put_floats,
    put_number,
    put_texts,
    put_value,
    put_values,
    serialise,
)
from tfrs_twotower.specs import Feature, FeatureSpec, HistoryFeature

ExampleItem = tuple[int, str, str, bytes]


class Past(NamedTuple):
    """One event as histories see it; events are given in the order of (timestamp, position)."""

    timestamp: int
    candidate_id: str
    counts: bool
    """Whether it may stand in a history (`positives_only`)."""


def histories_before(events: Iterable[Past], max_length: int) -> Iterator[tuple[str, ...]]:
    """For each event the candidates of strictly earlier events.

    Events of the same second do not see each other.
    """
    recent: dict[str, None] = {}
    now: int | None = None
    same_time: list[str] = []
    history: tuple[str, ...] = ()
    for event in events:
        if event.timestamp != now:
            _move_to_end(recent, same_time)
            same_time.clear()
            now = event.timestamp
            history = tuple(islice(reversed(recent), max_length))
        yield history
        if event.counts:
            same_time.append(event.candidate_id)


def latest_candidates(events: Iterable[Past], max_length: int | None = None) -> tuple[str, ...]:
    """The candidates of all events, most recent first."""
    recent: dict[str, None] = {}
    _move_to_end(recent, [event.candidate_id for event in events if event.counts])
    return tuple(islice(reversed(recent), max_length))


def without(history: Sequence[str], candidate_id: str, max_length: int) -> tuple[str, ...]:
    """The history as if the candidate had never been met."""
    return tuple(islice((other for other in history if other != candidate_id), max_length))


def _move_to_end(recent: dict[str, None], candidate_ids: Iterable[str]) -> None:
    for candidate_id in candidate_ids:
        recent.pop(candidate_id, None)
        recent[candidate_id] = None


class QueryExampleBuilder:
    """Builds the training, fresh and evaluation examples of a query."""

    def __init__(self, spec: FeatureSpec) -> None:
        self._features: tuple[Feature, ...] = spec.query.features
        self._histories = spec.histories
        self._event_times = [
            f for f in spec.query.features if from_event(f) and not isinstance(f, HistoryFeature)
        ]
        self._new_pairs_only = spec.split.new_pairs_only
        self._has_time = spec.interactions.timestamp is not None
        self.needs_order = any(feature.window == "before" for feature in self._histories)
        """Whether the history of a training example depends on its place among the others."""

    def interactions(
        self, query_id: str, values: Sequence[Value], events: QueryEvents, split: int
    ) -> Iterator[ExampleItem]:
        """Examples of the split's positive events, `(timestamp, query id, candidate id, bytes)`.

        In `leave_one_out` a training example sees all other training events; an example of a
        later split sees what came before it. Both lose their own candidate.

        Where only new pairs count (`split.new_pairs_only`), only the first positive event of a
        pair (among those that are kept) is an example: training asks what evaluation asks.
        """
        own = events.splits[split].kept
        if not any(event.positive for event in own):
            return
        shown = events.before(split + 1)
        is_own = [True] * len(shown)
        if split != TRAIN:
            members = set(own)
            is_own = [event in members for event in shown]
        histories = [self._histories_of(feature, shown, split) for feature in self._histories]
        static = self._static(query_id, values)
        met: set[str] = set()
        for place, event in enumerate(shown):
            if not event.positive:
                continue
            is_repeat = event.candidate_id in met
            met.add(event.candidate_id)
            if is_own[place] and not (is_repeat and self._new_pairs_only):
                own_histories = [of_events[place] for of_events in histories]
                yield self._example(static, query_id, event, own_histories)

    def older_training(
        self,
        query_id: str,
        values: Sequence[Value],
        events: QueryEvents,
        older: Iterable[Placed],
    ) -> Iterator[ExampleItem]:
        """Examples of training events beyond those that are kept; not if `needs_order`."""
        kept = events.splits[TRAIN].kept
        others = [
            (latest_candidates(_as_past(kept, feature), feature.max_length + 1), feature)
            for feature in self._histories
        ]
        static = self._static(query_id, values)
        met = {event.candidate_id for event in kept if event.positive}
        for event in older:
            if self._new_pairs_only and event.candidate_id in met:
                continue
            met.add(event.candidate_id)
            histories = [
                without(history, event.candidate_id, feature.max_length)
                for history, feature in others
            ]
            yield self._example(static, query_id, event, histories)

    def _static(self, query_id: str, values: Sequence[Value]) -> Any:
        static = Example()
        put_values(static, self._features, values)
        put_texts(static, "_query_id", (query_id,))
        return static

    def _example(
        self, static: Any, query_id: str, event: Placed, histories: Sequence[tuple[str, ...]]
    ) -> ExampleItem:
        example = Example()
        example.CopyFrom(static)
        for feature, history in zip(self._histories, histories, strict=True):
            put_value(example, feature, history)
        self._put_time(example, event.timestamp)
        put_texts(example, "_candidate_id", (event.candidate_id,))
        put_number(example, "_timestamp", event.timestamp)
        put_floats(example, "_label", (event.label,))
        put_floats(example, "_weight", (event.weight,))
        return event.timestamp, query_id, event.candidate_id, serialise(example)

    def evaluation(
        self,
        query_id: str,
        values: Sequence[Value],
        events: QueryEvents,
        split: int,
        *,
        cutoffs: Cutoffs | None,
        seen: Sequence[str],
    ) -> bytes:
        """The evaluated query at the cut-off of a split, without its relevant candidates.

        Its time is the cut-off of a temporal split, and otherwise its first event's.
        """
        past = events.before(split)
        example = Example()
        put_values(example, self._features, values)
        for feature in self._histories:
            history = latest_candidates(_as_past(past, feature), feature.max_length)
            put_value(example, feature, history)
        time = events.splits[split].first_s or 0
        if cutoffs is not None:
            time = cutoffs.validation_from if split == 1 else cutoffs.test_from
        self._put_time(example, time)
        put_texts(example, "_query_id", (query_id,))
        put_number(example, "_timestamp", time)
        put_texts(example, "_seen", seen)
        put_number(example, "_num_events", events.count_before(split))
        return serialise(example)

    def _histories_of(
        self, feature: HistoryFeature, shown: Sequence[Placed], split: int
    ) -> list[tuple[str, ...]]:
        """A history for each event; one more than needed is kept where the own one goes."""
        past = _as_past(shown, feature)
        length = feature.max_length
        if feature.window == "before":
            return list(histories_before(past, length))
        if split == TRAIN:
            all_others = latest_candidates(past, length + 1)
            return [without(all_others, event.candidate_id, length) for event in shown]
        earlier = histories_before(past, length + 1)
        return [
            without(history, event.candidate_id, length)
            for history, event in zip(earlier, shown, strict=True)
        ]

    def _put_time(self, example: Any, time: int) -> None:
        for feature in self._event_times:
            put_value(example, feature, time if self._has_time else MISSING_TIME)


def finish_evaluation(draft: bytes, gains: Sequence[tuple[str, float]]) -> bytes:
    """Adds the relevant candidates and their gains to an evaluated query."""
    example = Example.FromString(draft)
    put_texts(example, "_relevant", [candidate_id for candidate_id, _ in gains])
    put_floats(example, "_gain", [gain for _, gain in gains])
    return serialise(example)


def _as_past(events: Sequence[Placed], feature: HistoryFeature) -> list[Past]:
    return [
        Past(event.timestamp, event.candidate_id, event.positive or not feature.positives_only)
        for event in events
    ]
