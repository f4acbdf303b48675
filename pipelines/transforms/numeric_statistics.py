"""Statistics of numeric features, equal bit for bit for any division of the work."""

import heapq
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.transforms import batches
from tfrs_twotower.features.learning import quantile_boundaries
from tfrs_twotower.specs import Feature, NumericFeature

_SPLITTER = 134217729.0  # 2^27 + 1
_BITS, _HALF = 53, 27
SAMPLE_SIZE = 16_384
"""Values that quantiles are computed from: those of the entities with the smallest hashes."""


def exact_square(numbers: Any) -> tuple[Any, Any]:
    """The squares of numbers as their rounded values and the rounding errors (Dekker 1971)."""
    product = numbers * numbers
    scaled = _SPLITTER * numbers
    high = scaled - (scaled - numbers)
    low = numbers - high
    return product, ((high * high - product) + 2.0 * high * low) + low * low


def exact_sum(numbers: NDArray[np.float64]) -> Fraction:
    """The exact sum of finite numbers.

    A number is an integer of 53 bits times a power of two. The integers of each power are added in
    two halves of their bits, which 2^36 numbers do not overflow.
    """
    mantissas, powers = np.frexp(numbers)
    integers = np.ldexp(mantissas, _BITS).astype(np.int64)
    order = np.argsort(powers, kind="stable")
    powers, first = np.unique(powers[order], return_index=True)
    if not len(first):
        return Fraction(0)
    halves = (integers[order] >> _HALF, integers[order] & ((1 << _HALF) - 1))
    sums = [np.add.reduceat(half, first).tolist() for half in halves]
    whole = Fraction(0)
    for high, low, power in zip(*sums, powers.tolist(), strict=True):
        whole += Fraction((high << _HALF) + low) * Fraction(2) ** (power - _BITS)
    return whole


@dataclass
class Accumulator:
    """Exact sums, extremes and a sample of the values of one feature."""

    count: int = 0
    missing: int = 0
    sum: Fraction = Fraction(0)
    squares: Fraction = Fraction(0)
    smallest: float = math.inf
    largest: float = -math.inf
    sample: list[tuple[int, float]] = field(default_factory=list)
    """Negative hashes and values, those of the smallest hashes."""


class ExtractNumbers(beam.PTransform):
    """Turns trained entities of one side into `(side.feature, packed hash and value)`."""

    def __init__(self, side: str, features: Sequence[Feature]) -> None:
        super().__init__()
        self._numeric = [
            (batches.value_column(feature), f"{side}.{feature.name}")
            for feature in features
            if isinstance(feature, NumericFeature)
        ]

    def expand(self, trained: beam.PCollection) -> beam.PCollection:
        """Makes one element for each numeric feature of a table."""
        return trained | beam.FlatMap(_numbers, self._numeric)


def _numbers(part: bytes, numeric: Sequence[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    table = batches.unpacked([part])
    hashes = [zlib.crc32(one) for one in table["entity_id"].cast(pa.binary()).to_pylist()]
    for column, name in numeric:
        yield name, batches.packed(pa.table({"hash": hashes, "value": table[column]}))


class NumericStatistics(beam.CombineFn):
    """Combines hashes and values of one feature into a dict of statistics; NaN is missing."""

    def __init__(self, feature: NumericFeature) -> None:
        self._feature = feature

    def create_accumulator(self) -> Accumulator:
        """An accumulator of no value."""
        return Accumulator()

    def add_input(self, accumulator: Accumulator, element: bytes) -> Accumulator:
        """Adds the values of a table."""
        table = batches.unpacked([element])
        values = batches.numbers(table, "value")
        is_known = ~np.isnan(values)
        hashes, known = batches.numbers(table, "hash")[is_known], values[is_known]
        own = Accumulator(count=len(known), missing=len(values) - len(known))
        if len(known):
            own.smallest, own.largest = float(known.min()), float(known.max())
        scaled = known
        if self._feature.transform == "log":
            # NumPy's own logarithm depends on the processor in its last bit.
            scaled = np.array([math.log1p(one) for one in np.maximum(known, 0.0).tolist()])
        own.sum = exact_sum(scaled)
        own.squares = sum(map(exact_sum, exact_square(scaled)), Fraction(0))
        if self._feature.transform == "bucketise":
            order = np.lexsort((-known, hashes))[:SAMPLE_SIZE]
            own.sample = list(zip((-hashes[order]).tolist(), known[order].tolist(), strict=True))
        return self.merge_accumulators([accumulator, own])

    def merge_accumulators(self, accumulators: Iterable[Accumulator]) -> Accumulator:
        """Merges the accumulators of several workers."""
        merged = Accumulator()
        for one in accumulators:
            merged.count += one.count
            merged.missing += one.missing
            merged.smallest = min(merged.smallest, one.smallest)
            merged.largest = max(merged.largest, one.largest)
            merged.sum += one.sum
            merged.squares += one.squares
            merged.sample += one.sample
        merged.sample = heapq.nlargest(SAMPLE_SIZE, merged.sample)
        return merged

    def extract_output(self, accumulator: Accumulator) -> dict[str, Any]:
        """The statistics."""
        count = accumulator.count
        if not count:
            mean, std, low, high = 0.0, 0.0, 0.0, 0.0
        else:
            exact_mean = accumulator.sum / count
            variance = accumulator.squares / count - exact_mean * exact_mean
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
