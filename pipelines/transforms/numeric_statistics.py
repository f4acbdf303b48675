"""Statistics of numeric features, equal bit for bit for any division of the work."""

import heapq
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import apache_beam as beam

from pipelines.transforms.records import Trained
from tfrs_twotower.features.learning import quantile_boundaries
from tfrs_twotower.specs import Feature, NumericFeature

_SPLITTER = 134217729.0  # 2^27 + 1
SAMPLE_SIZE = 16_384
"""Values that quantiles are computed from: those of the entities with the smallest hashes."""


def add_exactly(partials: list[float], number: float) -> None:
    """Adds a number in place to a sum that is kept as exact partial sums (Shewchuk 1997)."""
    kept = 0
    for partial in partials:
        if abs(number) < abs(partial):
            number, partial = partial, number
        high = number + partial
        low = partial - (high - number)
        if low:
            partials[kept] = low
            kept += 1
        number = high
    partials[kept:] = [number]


def exact_square(number: float) -> tuple[float, float]:
    """The square of a number as its rounded value and the rounding error (Dekker 1971)."""
    product = number * number
    scaled = _SPLITTER * number
    high = scaled - (scaled - number)
    low = number - high
    return product, ((high * high - product) + 2.0 * high * low) + low * low


def total(partials: Iterable[float]) -> Fraction:
    """The exact sum of the partial sums."""
    return sum((Fraction(partial) for partial in partials), Fraction(0))


@dataclass
class Accumulator:
    """Exact sums, extremes and a sample of the values of one feature."""

    count: int = 0
    missing: int = 0
    sums: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=list)
    smallest: float = math.inf
    largest: float = -math.inf
    sample: list[tuple[int, float]] = field(default_factory=list)
    """Heap of (negative hash, value); its first pair has the largest hash."""


class ExtractNumbers(beam.PTransform):
    """Turns `Trained` entities of one side into `(side.feature, (hash, value))`."""

    def __init__(self, side: str, features: Sequence[Feature]) -> None:
        super().__init__()
        self._numeric = [
            (place, f"{side}.{feature.name}")
            for place, feature in enumerate(features)
            if isinstance(feature, NumericFeature)
        ]

    def expand(self, trained: beam.PCollection) -> beam.PCollection:
        """Makes one element for each numeric feature of an entity."""
        return trained | beam.FlatMap(_numbers, self._numeric)


def _numbers(
    trained: Trained, numeric: Sequence[tuple[int, str]]
) -> Iterator[tuple[str, tuple[int, Any]]]:
    _, values, entity_id = trained
    if numeric:
        record_hash = zlib.crc32(entity_id.encode("utf-8"))
        for place, name in numeric:
            yield name, (record_hash, values[place])


class NumericStatistics(beam.CombineFn):
    """Combines `(hash, value)` pairs of one feature into a dict of statistics; NaN is missing."""

    def __init__(self, feature: NumericFeature) -> None:
        self._feature = feature

    def create_accumulator(self) -> Accumulator:
        """An accumulator of no value."""
        return Accumulator()

    def add_input(self, accumulator: Accumulator, element: tuple[int, float]) -> Accumulator:
        """Adds one value."""
        record_hash, value = element
        if math.isnan(value):
            accumulator.missing += 1
            return accumulator
        accumulator.count += 1
        accumulator.smallest = min(accumulator.smallest, value)
        accumulator.largest = max(accumulator.largest, value)
        scaled = math.log1p(max(value, 0.0)) if self._feature.transform == "log" else value
        add_exactly(accumulator.sums, scaled)
        for part in exact_square(scaled):
            add_exactly(accumulator.squares, part)
        if self._feature.transform == "bucketise":
            _offer(accumulator.sample, (-record_hash, value))
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[Accumulator]) -> Accumulator:
        """Merges the accumulators of several workers."""
        merged = Accumulator()
        for one in accumulators:
            merged.count += one.count
            merged.missing += one.missing
            merged.smallest = min(merged.smallest, one.smallest)
            merged.largest = max(merged.largest, one.largest)
            for part in one.sums:
                add_exactly(merged.sums, part)
            for part in one.squares:
                add_exactly(merged.squares, part)
            for item in one.sample:
                _offer(merged.sample, item)
        return merged

    def extract_output(self, accumulator: Accumulator) -> dict[str, Any]:
        """The statistics."""
        count = accumulator.count
        if not count:
            mean, std, low, high = 0.0, 0.0, 0.0, 0.0
        else:
            exact_mean = total(accumulator.sums) / count
            variance = total(accumulator.squares) / count - exact_mean * exact_mean
            mean, std = float(exact_mean), math.sqrt(max(variance, Fraction(0)))
            low, high = accumulator.smallest, accumulator.largest
        statistics: dict[str, Any] = {
            "mean": mean,
            "std": std,
            "min": low,
            "max": high,
            "count": count,
            "missing": accumulator.missing,
        }
        if self._feature.transform == "bucketise":
            statistics["boundaries"] = quantile_boundaries(
                [value for _, value in accumulator.sample], self._feature.num_buckets
            )
        return statistics


def _offer(sample: list[tuple[int, float]], item: tuple[int, float]) -> None:
    if len(sample) < SAMPLE_SIZE:
        heapq.heappush(sample, item)
    else:
        heapq.heappushpop(sample, item)
