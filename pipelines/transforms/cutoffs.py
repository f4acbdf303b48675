"""Exact global cut-offs by share of the events, without collecting the events.

With the n times sorted, test begins at the time with index floor((1 - test) n) and validation at
the one with index floor((1 - test - validation) n), from 0; events of one time are never parted,
so a share may come out larger. Events are counted by day, and by second inside the days that the
two indices fall in: at most some 40,000 days and 2 x 86,400 seconds are held.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from pipelines.transforms.splits import Cutoffs
from tfrs_twotower.specs import TemporalSplit

DAY_S = 86_400
_ROUNDING = 1e-9
Places = list[tuple[int, int]]
"""For validation and test: the day that the cut falls in, and the index inside that day."""


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
