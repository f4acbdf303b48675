"""Exact global cut-offs by share of the events, sessions kept whole, and each split's time span."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from pipelines.transforms.records import Event
from pipelines.transforms.splits import Cutoffs
from tfrs_twotower.specs import TemporalSplit

Window = tuple[int, int, int, int]
"""Events, positives, first and last second."""
_TIME = Event._fields.index("timestamp")
_SESSION = Event._fields.index("session")
DAY_S = 86_400
_ROUNDING = 1e-9
Places = list[tuple[int, int]]
"""For validation and test: the day that the cut falls in, and the index inside that day."""


class SummariseWindows(beam.PTransform):
    """`(split, window of one query)` to one dict `{split: window}`."""

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Adds up by split."""
        return parts | beam.CombinePerKey(merge_windows) | beam.CombineGlobally(AsDict())


def merge_windows(parts: Iterable[Window]) -> Window:
    """The window that spans all parts; of none, an empty one."""
    columns = list(zip(*(part for part in parts if part[0]), strict=True))
    if not columns:
        return 0, 0, 0, 0
    events, positives, firsts, lasts = columns
    return sum(events), sum(positives), min(firsts), max(lasts)


def training_end(windows: dict[int, Window], cutoff: int | None) -> int:
    """End of the training window, exclusive: the cut-off, or just after its last event."""
    if cutoff is not None:
        return cutoff
    return windows[0][3] + 1 if 0 in windows else 0


def window_times(windows: dict[int, Window], cutoffs: Any) -> dict[str, int]:
    """Start of train and the exclusive ends of the splits, epoch seconds."""
    times = {}
    if 0 in windows:
        times["train_start"] = windows[0][2]
        times["train_end"] = training_end(windows, cutoffs.validation_from if cutoffs else None)
    for split, key in ((1, "validation_end"), (2, "test_end")):
        if split in windows:
            times[key] = windows[split][3] + 1
    if cutoffs:
        times["validation_end"] = cutoffs.test_from
    return times


class AddSplitTime(beam.PTransform):
    """Events to `(split time, event)`, epoch seconds; events without a session keep their own.

    A session's events are grouped under its id over all queries.
    """

    def __init__(self, by_session: bool) -> None:
        super().__init__()
        self._by_session = by_session

    def expand(self, events: beam.PCollection) -> beam.PCollection:
        """Groups by session where the table names one."""
        if not self._by_session:
            return events | "OwnTime" >> beam.Map(lambda event: (event[_TIME], event))
        alone = (
            events
            | "WithoutSession" >> beam.Filter(lambda event: not event[_SESSION])
            | "OwnTime" >> beam.Map(lambda event: (event[_TIME], event))
        )
        together = (
            events
            | "WithSession" >> beam.Filter(lambda event: bool(event[_SESSION]))
            | "SessionKey" >> beam.Map(lambda event: (event[_SESSION], event))
            | beam.GroupByKey()
            | "SessionStart" >> beam.FlatMap(_from_its_start)
        )
        return (alone, together) | beam.Flatten()


def _from_its_start(
    group: tuple[str, Iterable[tuple[Any, ...]]],
) -> Iterable[tuple[int, tuple[Any, ...]]]:
    _, events = group
    start = min(event[_TIME] for event in events)
    for event in events:
        yield start, event


class FindCutoffs(beam.PTransform):
    """Times of events, epoch seconds, to one `Cutoffs`."""

    def __init__(self, split: TemporalSplit) -> None:
        super().__init__()
        self._shares = (split.test_fraction + split.validation_fraction, split.test_fraction)

    def expand(self, times: beam.PCollection) -> beam.PCollection:
        """Counts days, then the seconds of the cut days."""
        places = (
            times
            | "Day" >> beam.Map(lambda time: (time // DAY_S, 1))
            | "CountDays" >> beam.CombinePerKey(sum)
            | "Days" >> beam.CombineGlobally(AsDict())
            | "CutDays" >> beam.Map(find_cut_days, self._shares)
        )
        return (
            times
            | "OfCutDays" >> beam.FlatMap(_in_days, pvalue.AsSingleton(places))
            | "CountSeconds" >> beam.CombinePerKey(sum)
            | "Seconds" >> beam.CombineGlobally(AsDict())
            | "CutSeconds" >> beam.Map(find_cut_seconds, pvalue.AsSingleton(places))
        )


def find_cut_days(days: Mapping[int, int], shares: Iterable[float]) -> Places:
    """The day of each cut and the cut's index inside it; nothing if there are no events."""
    total = sum(days.values())
    if not total:
        return []
    places = []
    for share in shares:
        index = min(max(math.floor((1 - share) * total + _ROUNDING), 0), total - 1)
        places.append(_place(days, index))
    return places


def find_cut_seconds(seconds: Mapping[int, int], places: Places) -> Cutoffs:
    """The times of the cuts from the counts of the seconds of their days."""
    cuts = []
    for day, index in places:
        of_day = {time: n for time, n in seconds.items() if time // DAY_S == day}
        cuts.append(_place(of_day, index)[0])
    return Cutoffs(*cuts) if cuts else Cutoffs(0, 0)


def _place(counts: Mapping[int, int], index: int) -> tuple[int, int]:
    """The key that the index falls on when keys repeat by their counts, and the rest."""
    for key in sorted(counts):
        if index < counts[key]:
            return key, index
        index -= counts[key]
    raise IndexError(index)


def _in_days(time: int, places: Places) -> Iterable[tuple[int, int]]:
    if any(time // DAY_S == day for day, _ in places):
        yield time, 1


class AsDict(beam.CombineFn):
    """Key-value pairs to a dict."""

    def create_accumulator(self) -> dict[Any, Any]:
        """Starts empty."""
        return {}

    def add_input(self, accumulator: dict[Any, Any], element: tuple[Any, Any]) -> dict[Any, Any]:
        """Takes one more."""
        accumulator[element[0]] = element[1]
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[dict[Any, Any]]) -> dict[Any, Any]:
        """Puts what several workers saw together."""
        merged: dict[Any, Any] = {}
        for accumulator in accumulators:
            merged.update(accumulator)
        return merged

    def extract_output(self, accumulator: dict[Any, Any]) -> dict[Any, Any]:
        """The result."""
        return accumulator
