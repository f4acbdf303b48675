"""Temporal cut-offs: split times, exact cut-offs by share of the events, windows of the splits."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from pipelines.transforms import records, splits
from tfrs_twotower.specs import TEST, TRAIN, VALIDATION, TemporalSplit

DAY_S = 86_400
CutDays = list[tuple[int, int]]
"""For validation and test: the day that the cut-off falls in, and the cut-off's place in it."""
Window = tuple[int, int, int, int]
"""Events, positives, first and last second."""
_TIME = records.Event._fields.index("timestamp")
_SESSION = records.Event._fields.index("session")
_ROUNDING = 1e-9


class AddSplitTime(beam.PTransform):
    """Turns events into `(split time, event)`; the split time decides on the split.

    The split time, in epoch seconds, is that of the session's first event, so that no cut-off
    divides a session; an event without a session has its own. A session id means the same session
    for all queries.
    """

    def __init__(self, by_session: bool) -> None:
        super().__init__()
        self._by_session = by_session

    def expand(self, events: beam.PCollection) -> beam.PCollection:
        """Groups by session if the table has sessions."""
        if not self._by_session:
            return events | "OwnTime" >> beam.Map(lambda event: (event[_TIME], event))
        without_session = (
            events
            | "WithoutSession" >> beam.Filter(lambda event: not event[_SESSION])
            | "OwnTime" >> beam.Map(lambda event: (event[_TIME], event))
        )
        by_session = (
            events
            | "WithSession" >> beam.Filter(lambda event: bool(event[_SESSION]))
            | "SessionKey" >> beam.Map(lambda event: (event[_SESSION], event))
            | beam.GroupByKey()
            | "SessionStart" >> beam.FlatMap(_at_session_start)
        )
        return (without_session, by_session) | beam.Flatten()


def _at_session_start(
    group: tuple[str, Iterable[tuple[Any, ...]]],
) -> Iterable[tuple[int, tuple[Any, ...]]]:
    _, events = group
    start = min(event[_TIME] for event in events)
    for event in events:
        yield start, event


class FindCutoffs(beam.PTransform):
    """Turns the split times of all events, epoch seconds, into one `Cutoffs`."""

    def __init__(self, split: TemporalSplit) -> None:
        super().__init__()
        self._shares = (split.test_fraction + split.validation_fraction, split.test_fraction)

    def expand(self, times: beam.PCollection) -> beam.PCollection:
        """Counts the events of each day, then those of each second of the cut-offs' days."""
        cut_days = (
            times
            | "Day" >> beam.Map(lambda time: (time // DAY_S, 1))
            | "CountDays" >> beam.CombinePerKey(sum)
            | "Days" >> beam.CombineGlobally(AsDict())
            | "CutDays" >> beam.Map(find_cut_days, self._shares)
        )
        return (
            times
            | "OfCutDays" >> beam.FlatMap(_in_days, pvalue.AsSingleton(cut_days))
            | "CountSeconds" >> beam.CombinePerKey(sum)
            | "Seconds" >> beam.CombineGlobally(AsDict())
            | "CutSeconds" >> beam.Map(find_cut_seconds, pvalue.AsSingleton(cut_days))
        )


def find_cut_days(days: Mapping[int, int], shares: Iterable[float]) -> CutDays:
    """The day of each cut-off and its place in that day; empty if there are no events.

    A share of 0 is cut off after the last event.

    Args:
        days: number of events by day.
        shares: for each cut-off, the share of the events at it or after it.
    """
    total = sum(days.values())
    if not total:
        return []
    cut_days = []
    for share in shares:
        if not share:
            cut_days.append((max(days), days[max(days)]))
            continue
        place = min(max(math.floor((1 - share) * total + _ROUNDING), 0), total - 1)
        cut_days.append(_locate(days, place))
    return cut_days


def find_cut_seconds(seconds: Mapping[int, int], cut_days: CutDays) -> splits.Cutoffs:
    """The cut-offs from the number of events in each second of their days."""
    cuts = []
    for day, place in cut_days:
        of_day = {time: n for time, n in seconds.items() if time // DAY_S == day}
        is_after = place == sum(of_day.values())
        cuts.append(max(of_day) + 1 if is_after else _locate(of_day, place)[0])
    return splits.Cutoffs(*cuts) if cuts else splits.Cutoffs(0, 0)


def _locate(counts: Mapping[int, int], place: int) -> tuple[int, int]:
    """The key at a place of the sorted sequence that repeats each key by its count.

    Returns:
        The key, and the place among its repetitions.
    """
    for key in sorted(counts):
        if place < counts[key]:
            return key, place
        place -= counts[key]
    raise IndexError(place)


def _in_days(time: int, cut_days: CutDays) -> Iterable[tuple[int, int]]:
    if any(time // DAY_S == day for day, _ in cut_days):
        yield time, 1


class SummariseWindows(beam.PTransform):
    """Turns `(split, window of one query)` into one dict `{split: window}`."""

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Merges the windows of each split."""
        return parts | beam.CombinePerKey(merge_windows) | beam.CombineGlobally(AsDict())


def merge_windows(parts: Iterable[Window]) -> Window:
    """The window that spans all parts; an empty one if all parts are empty."""
    columns = list(zip(*(part for part in parts if part[0]), strict=True))
    if not columns:
        return 0, 0, 0, 0
    events, positives, firsts, lasts = columns
    return sum(events), sum(positives), min(firsts), max(lasts)


def training_end(windows: dict[int, Window], cutoff: int | None) -> int:
    """End of the training window, exclusive: the cut-off, or just after its last event."""
    if cutoff is not None:
        return cutoff
    return windows[TRAIN][3] + 1 if TRAIN in windows else 0


def window_times(windows: dict[int, Window], cutoffs: Any) -> dict[str, int]:
    """Start of training and the exclusive ends of the splits, epoch seconds."""
    times = {}
    if TRAIN in windows:
        times["train_start"] = windows[TRAIN][2]
        times["train_end"] = training_end(windows, cutoffs.validation_from if cutoffs else None)
    for split, key in ((VALIDATION, "validation_end"), (TEST, "test_end")):
        if split in windows:
            times[key] = windows[split][3] + 1
    if cutoffs:
        times["validation_end"] = cutoffs.test_from
    return times


class AsDict(beam.CombineFn):
    """Collects key-value pairs in one dict."""

    def create_accumulator(self) -> dict[Any, Any]:
        """Starts empty."""
        return {}

    def add_input(self, accumulator: dict[Any, Any], element: tuple[Any, Any]) -> dict[Any, Any]:
        """Adds one pair."""
        accumulator[element[0]] = element[1]
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[dict[Any, Any]]) -> dict[Any, Any]:
        """Merges the dicts of several workers."""
        merged: dict[Any, Any] = {}
        for accumulator in accumulators:
            merged.update(accumulator)
        return merged

    def extract_output(self, accumulator: dict[Any, Any]) -> dict[Any, Any]:
        """The dict."""
        return accumulator
