import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest

from pipelines.transforms import batches
from pipelines.transforms.numeric_statistics import (
    SAMPLE_SIZE,
    NumericStatistics,
    exact_square,
    exact_sum,
)
from tfrs_twotower.features.learning import quantile_boundaries
from tfrs_twotower.specs import NumericFeature


def statistics_of(values, parts=1, **settings):
    combine = NumericStatistics(NumericFeature(name="x", kind="numeric", **settings))
    accumulators = [combine.create_accumulator() for _ in range(parts)]
    for at in range(parts):
        places = np.arange(len(values))[at::parts]
        table = pa.table({"hash": places * 7919 % 1_000_003, "value": np.array(values)[places]})
        accumulators[at] = combine.add_input(accumulators[at], batches.packed(table))
    return combine.extract_output(combine.merge_accumulators(accumulators))


def test_by_hand():
    result = statistics_of([1.0, 2.0, 3.0, math.nan])
    assert result["mean"] == (1 + 2 + 3) / 3
    assert result["std"] == pytest.approx(math.sqrt((1 + 0 + 1) / 3))
    assert (result["min"], result["max"], result["count"], result["missing"]) == (1.0, 3.0, 3, 1)


def test_log_is_of_one_plus_the_positive_part():
    result = statistics_of([-5.0, math.e - 1], transform="log")
    assert result["mean"] == pytest.approx((0 + 1) / 2)
    assert (result["min"], result["max"]) == (-5.0, math.e - 1)


def test_no_values():
    result = statistics_of([math.nan], transform="bucketise", num_buckets=3)
    assert result["boundaries"] == [0.0, 0.0]
    assert (result["mean"], result["std"], result["count"], result["missing"]) == (0.0, 0.0, 0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_numpy_agrees_and_the_division_of_work_does_not_matter(seed):
    values = np.random.default_rng(seed).normal(1e6, 1.0, 500).tolist()
    one = statistics_of(values, transform="bucketise", num_buckets=8)
    many = statistics_of(values, parts=7, transform="bucketise", num_buckets=8)
    assert one == many
    assert one["mean"] == pytest.approx(np.mean(values), rel=1e-15)
    assert one["std"] == pytest.approx(np.std(values), rel=1e-9)
    np.testing.assert_allclose(one["boundaries"], np.quantile(values, np.arange(1, 8) / 8))


def test_a_large_column_is_sampled_in_bounded_memory():
    values = [float(value) for value in range(3 * SAMPLE_SIZE)]
    result = statistics_of(values, parts=3, transform="bucketise", num_buckets=4)
    expected = np.quantile(values, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(result["boundaries"], expected, rtol=0.05)


def test_boundaries_of_two_buckets_is_the_median():
    assert quantile_boundaries([3.0, 1.0, 2.0], 2) == [2.0]


@pytest.mark.parametrize("seed", range(5))
def test_sums_are_exact(seed):
    random = np.random.default_rng(seed)
    numbers = random.normal(size=1000) * 10.0 ** random.integers(-20, 20, 1000)
    numbers = np.concatenate([numbers, -numbers[:500], [1e16, 1.0, -1e16, 1e-3, 0.0, 5e-324]])
    random.shuffle(numbers)
    assert exact_sum(numbers) == sum(map(Fraction, numbers.tolist()), Fraction(0))
    assert exact_sum(np.zeros(0)) == 0


def test_a_square_is_exact():
    product, error = exact_square(np.array([1.0 + 2**-40, -3.7]))
    for number, *parts in zip((1.0 + 2**-40, -3.7), product.tolist(), error.tolist(), strict=True):
        assert sum(map(Fraction, parts)) == Fraction(number) ** 2
