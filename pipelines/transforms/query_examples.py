"""Turns the events of one query into its histories and examples. Plain functions; no Beam."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from pipelines.transforms import query_events, records, splits
from pipelines.transforms import sharded_output as tfrecords
from tfrs_twotower import specs

ExampleItem = tuple[int, str, str, bytes]


class Past(NamedTuple):
    """An event as histories use it; sequences of them are in the order of (timestamp, position)."""

    moment: int
    """The timestamp or the number of the order, or the position in data without either."""
    candidate_id: str
    counts: bool
    """Whether histories include it (`positives_only`)."""


def histories_before(events: Iterable[Past], max_length: int) -> Iterator[tuple[str, ...]]:
    """For each event, the candidates of strictly earlier events, most recent first.

    Events of the same second do not see each other; without times, earlier is earlier in the files.
    """
    recent: dict[str, None] = {}
    now: int | None = None
    same_time: list[str] = []
    history: tuple[str, ...] = ()
    for event in events:
        if event.moment != now:
            _move_to_end(recent, same_time)
            same_time.clear()
            now = event.moment
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
    """The history without one candidate, cut to its length."""
    return tuple(islice((other for other in history if other != candidate_id), max_length))


def _move_to_end(recent: dict[str, None], candidate_ids: Iterable[str]) -> None:
    for candidate_id in candidate_ids:
        recent.pop(candidate_id, None)
        recent[candidate_id] = None


class QueryExampleBuilder:
    """Builds the training examples, refit examples and evaluated queries of a query."""

    def __init__(self, spec: specs.FeatureSpec) -> None:
        self._features: tuple[specs.Feature, ...] = spec.query.features
        self._histories = spec.histories
        self._event_times = [
            f
            for f in spec.query.features
            if records.from_event(f) and not isinstance(f, specs.HistoryFeature)
        ]
        self._new_pairs_only = spec.split.new_pairs_only
        self._has_time = spec.interactions.has_times
        self._has_order = spec.interactions.timestamp is not None
        self.needs_order = any(feature.window == "before" for feature in self._histories)
        """Whether the history of a training example depends on the events before it."""

    def interactions(
        self,
        query_id: str,
        values: Sequence[records.Value],
        events: query_events.QueryEvents,
        split: int,
    ) -> Iterator[ExampleItem]:
        """Examples of the split's positive events, `(timestamp, query id, candidate id, bytes)`.

        With `leave_one_out` a training example sees all other training events, and an example of a
        later split the events before it; both without their own candidate.

        Where only new pairs count (`split.new_pairs_only`), only the first positive event of a pair
        (among those that are kept) is an example, so that training has the task of evaluation.
        """
        own = events.splits[split].kept
        if not any(event.positive for event in own):
            return
        shown = events.before(split + 1)
        is_own = [True] * len(shown)
        if split != specs.TRAIN:
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
        values: Sequence[records.Value],
        events: query_events.QueryEvents,
        older: Iterable[query_events.QueryEvent],
    ) -> Iterator[ExampleItem]:
        """Examples of training events beyond those that are kept; not if `needs_order`.

        The older events may come in any order. Where only new pairs count, the first one in time
        of each pair that has no kept positive event is an example.
        """
        kept = events.splits[specs.TRAIN].kept
        others = [
            (latest_candidates(self._as_past(kept, feature), feature.max_length + 1), feature)
            for feature in self._histories
        ]
        static = self._static(query_id, values)
        if self._new_pairs_only:
            met = {event.candidate_id for event in kept if event.positive}
            older = _first_of_pairs(event for event in older if event.candidate_id not in met)
        for event in older:
            histories = [
                without(history, event.candidate_id, feature.max_length)
                for history, feature in others
            ]
            yield self._example(static, query_id, event, histories)

    def _static(self, query_id: str, values: Sequence[records.Value]) -> Any:
        static = tfrecords.Example()
        tfrecords.put_values(static, self._features, values)
        tfrecords.put_texts(static, "_query_id", (query_id,))
        return static

    def _example(
        self,
        static: Any,
        query_id: str,
        event: query_events.QueryEvent,
        histories: Sequence[tuple[str, ...]],
    ) -> ExampleItem:
        example = tfrecords.Example()
        example.CopyFrom(static)
        for feature, history in zip(self._histories, histories, strict=True):
            tfrecords.put_value(example, feature, history)
        self._put_time(example, event.timestamp)
        tfrecords.put_texts(example, "_candidate_id", (event.candidate_id,))
        tfrecords.put_number(example, "_timestamp", event.timestamp)
        tfrecords.put_floats(example, "_label", (event.label,))
        tfrecords.put_floats(example, "_weight", (event.weight,))
        return event.timestamp, query_id, event.candidate_id, tfrecords.serialise(example)

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

    def _histories_of(
        self, feature: specs.HistoryFeature, shown: Sequence[query_events.QueryEvent], split: int
    ) -> list[tuple[str, ...]]:
        """A history for each event; one more is kept where the own candidate is left out."""
        past = self._as_past(shown, feature)
        length = feature.max_length
        if feature.window == "before":
            return list(histories_before(past, length))
        if split == specs.TRAIN:
            all_others = latest_candidates(past, length + 1)
            return [without(all_others, event.candidate_id, length) for event in shown]
        earlier = histories_before(past, length + 1)
        return [
            without(history, event.candidate_id, length)
            for history, event in zip(earlier, shown, strict=True)
        ]

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


def _first_of_pairs(events: Iterable[query_events.QueryEvent]) -> Iterable[query_events.QueryEvent]:
    """The first event in time of each candidate, for events in any order."""
    first: dict[str, query_events.QueryEvent] = {}
    for event in events:
        first[event.candidate_id] = min(event, first.get(event.candidate_id, event))
    return first.values()
