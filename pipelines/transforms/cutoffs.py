"""Temporal cut-offs: split times, exact cut-offs by share of the events, windows of the splits."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam import pvalue

from pipelines.transforms import batches, splits
from tfrs_twotower.specs import TEST, TRAIN, VALIDATION, TemporalSplit

DAY_S = 86_400
CutDays = list[tuple[int, int]]
"""For validation and test: the day that the cut-off falls in, and the cut-off's place in it."""
Window = tuple[int, int, int, int]
"""Events, positives, first and last second."""
_ROUNDING = 1e-9


class AddSplitTime(beam.PTransform):
    """Adds `split_time` to packed events; the split time decides on the split.

    The split time, in epoch seconds, is that of the session's first event, so that no cut-off
    divides a session; an event without a session has its own. A session id means the same session
    for all queries.
    """

    def __init__(self, by_session: bool, num_shards: int) -> None:
        super().__init__()
        self._by_session = by_session
        self._num_shards = num_shards

    def expand(self, events: beam.PCollection) -> beam.PCollection:
        """Brings the sessions of a shard together if the table has sessions."""
        if not self._by_session:
            return events | "OwnTime" >> beam.Map(_with_own_time)
        return (
            events
            | "SessionKey" >> beam.FlatMap(_by_session, self._num_shards)
            | beam.GroupByKey()
            | "SessionStart" >> beam.FlatMap(_at_session_start)
        )


def _with_own_time(part: bytes) -> bytes:
    table = batches.unpacked([part])
    return batches.packed(table.append_column(batches.SPLIT_TIME, table["timestamp"]))


def _by_session(part: bytes, num_shards: int) -> Iterable[tuple[int, bytes]]:
    return batches.divided(batches.unpacked([part]), "session", num_shards)


def _at_session_start(group: tuple[int, Iterable[bytes]]) -> Iterable[bytes]:
    table = batches.unpacked(group[1])
    sessions, (session,) = batches.ranked(table["session"])
    times = batches.numbers(table, "timestamp")
    starts = np.full(len(sessions), np.iinfo(np.int64).max)
    np.minimum.at(starts, session, times)
    without = np.asarray(sessions.to_numpy(zero_copy_only=False) == "")[session]
    split_times = np.where(without, times, starts[session])
    table = table.append_column(batches.SPLIT_TIME, pa.array(split_times))
    for rows in table.to_batches(batches.ROWS):
        yield batches.packed(pa.Table.from_batches([rows]))


class FindCutoffs(beam.PTransform):
    """Turns the split times of packed events into one `Cutoffs`."""

    def __init__(self, split: TemporalSplit) -> None:
        super().__init__()
        self._shares = (split.test_fraction + split.validation_fraction, split.test_fraction)

    def expand(self, events: beam.PCollection) -> beam.PCollection:
        """Counts the events of each day, then those of each second of the cut-offs' days."""
        cut_days = (
            events
            | "Days" >> beam.FlatMap(_count_days)
            | "CountDays" >> beam.CombinePerKey(sum)
            | "AllDays" >> beam.CombineGlobally(AsDict())
            | "CutDays" >> beam.Map(find_cut_days, self._shares)
        )
        return (
            events
            | "OfCutDays" >> beam.FlatMap(_count_seconds, pvalue.AsSingleton(cut_days))
            | "CountSeconds" >> beam.CombinePerKey(sum)
            | "Seconds" >> beam.CombineGlobally(AsDict())
            | "CutSeconds" >> beam.Map(find_cut_seconds, pvalue.AsSingleton(cut_days))
        )


def _count_days(part: bytes) -> Iterable[tuple[int, int]]:
    return _counted(batches.numbers(batches.unpacked([part]), batches.SPLIT_TIME) // DAY_S)


def _count_seconds(part: bytes, cut_days: CutDays) -> Iterable[tuple[int, int]]:
    times = batches.numbers(batches.unpacked([part]), batches.SPLIT_TIME)
    return _counted(times[np.isin(times // DAY_S, [day for day, _ in cut_days])])


def _counted(values: Any) -> Iterable[tuple[int, int]]:
    distinct, number = np.unique(values, return_counts=True)
    return zip(distinct.tolist(), number.tolist(), strict=True)


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
