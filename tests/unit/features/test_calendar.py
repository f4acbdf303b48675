import datetime

import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.features.numbers import NUM_VALUES, calendar_part


def test_against_the_standard_library():
    random = np.random.default_rng(0)
    seconds = np.concatenate(
        [
            random.integers(0, 7_000_000_000, 3000),
            [0, 951_782_399, 951_782_400, 951_868_799, 951_868_800, 4_107_542_399, 4_107_542_400],
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
        found = calendar_part(tf.constant(seconds, tf.int64), part)
        assert found.numpy().tolist() == values
        assert found.dtype == tf.int32
        assert max(values) == NUM_VALUES[part]


@pytest.mark.parametrize("part", list(NUM_VALUES))
def test_missing(part):
    assert calendar_part(tf.constant([-1, -(2**40)], tf.int64), part).numpy().tolist() == [0, 0]


def test_unknown_part():
    with pytest.raises(ValueError, match="unknown calendar part 'century'"):
        calendar_part(tf.constant([0], tf.int64), "century")
