import datetime

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.features.numbers import NUM_VALUES, Bucket, ScaledNumber, calendar_part
from tfrs_twotower.specs import EARLIEST_TIME, MISSING_TIME, NumericFeature


def feature(transform):
    return NumericFeature(name="age", kind="numeric", transform=transform, num_buckets=3)


def test_a_normalised_number():
    scale = ScaledNumber(feature("normalise"), {"mean": 10.0, "std": 2.0})
    tokens = scale(tf.constant([14.0, np.nan, -1e30, np.inf, -np.inf]))
    expected = [[(14 - 10) / 2, 0], [0, 1], [-10, 0], [10, 0], [-10, 0]]
    np.testing.assert_allclose(tokens, expected)


def test_a_logarithmic_number():
    scale = ScaledNumber(feature("log"), {"mean": 1.0, "std": 0.5})
    tokens = scale(tf.constant([np.e - 1, -5.0]))
    np.testing.assert_allclose(tokens[:, 0], [(1 - 1) / 0.5, (0 - 1) / 0.5], atol=1e-6)


def test_a_constant_or_unseen_number_is_finite():
    for statistics in ({"mean": 3.0, "std": 0.0}, {"mean": None, "std": None}):
        tokens = ScaledNumber(feature("normalise"), statistics)(tf.constant([3.0, np.nan]))
        assert np.isfinite(tokens).all()


def test_buckets():
    bucket = Bucket(feature("bucketise"), {"boundaries": [1.0, 5.0]})
    tokens = bucket(tf.constant([np.nan, -np.inf, 0.9, 1.0, 4.9, 5.0, np.inf]))
    assert tokens.numpy().tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert tokens.dtype == tf.int32
    assert bucket.num_rows == 1 + 3


def test_buckets_without_boundaries():
    bucket = Bucket(feature("bucketise"), {"boundaries": []})
    assert bucket(tf.constant([1.0, np.nan])).numpy().tolist() == [1, 0]


def test_calendar_parts_equal_the_standard_library():
    random = np.random.default_rng(0)
    seconds = np.concatenate(
        [
            random.integers(-62_135_596_800, 7_000_000_000, 3000),  # from the year 1 on
            [
                EARLIEST_TIME,
                -1,
                0,
                951_782_399,
                951_782_400,
                951_868_799,
                951_868_800,
                4_107_542_399,
                4_107_542_400,
            ],
        ]
    )
    times = [datetime.datetime.fromtimestamp(int(s), datetime.timezone.utc) for s in seconds]
    expected = {
        "hour_of_day": [t.hour + 1 for t in times],
        "day_of_week": [t.isoweekday() for t in times],
        "day_of_month": [t.day for t in times],
        "month_of_year": [t.month for t in times],
    }
    for part, values in expected.items():
        actual = calendar_part(tf.constant(seconds, tf.int64), part)
        assert actual.numpy().tolist() == values
        assert actual.dtype == tf.int32
        assert max(values) == NUM_VALUES[part]


@pytest.mark.parametrize("part", list(NUM_VALUES))
def test_calendar_parts_of_a_missing_time_are_zero(part):
    missing = tf.constant([MISSING_TIME, EARLIEST_TIME - 1, -(2**63)], tf.int64)
    assert calendar_part(missing, part).numpy().tolist() == [0, 0, 0]


def test_an_unknown_calendar_part_is_refused():
    with pytest.raises(ValueError, match="unknown calendar part 'century'"):
        calendar_part(tf.constant([0], tf.int64), "century")
