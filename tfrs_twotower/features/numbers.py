"""Times and numbers to tokens: calendar parts, scaled numbers, buckets."""

from typing import Any

import tensorflow as tf

from tfrs_twotower.keras_api import keras
from tfrs_twotower.specs import EARLIEST_TIME, NumericFeature

_DAY_S = 86_400
NUM_VALUES = {"hour_of_day": 24, "day_of_week": 7, "day_of_month": 31, "month_of_year": 12}
MOST_DEVIATIONS = 10.0


def calendar_part(seconds: tf.Tensor, part: str) -> tf.Tensor:
    """A part of each time, counted from 1; 0 for a time before the year 1 (missing).

    Args:
        seconds: `[batch]` int64, since 1970; negative before.
        part: a key of `NUM_VALUES`; Monday is day_of_week 1.

    Returns:
        `[batch]` int32.
    """
    known = tf.maximum(seconds, EARLIEST_TIME)
    days = known // _DAY_S  # rounded down, also where it is negative
    match part:
        case "hour_of_day":
            value = known % _DAY_S // 3600
        case "day_of_week":
            value = (days + 3) % 7  # 1970-01-01 was a Thursday
        case "day_of_month":
            value = _civil(days)[1] - 1
        case "month_of_year":
            value = _civil(days)[0] - 1
        case _:
            raise ValueError(f"unknown calendar part {part!r}; known: {', '.join(NUM_VALUES)}")
    return tf.where(seconds < EARLIEST_TIME, 0, tf.cast(value, tf.int32) + 1)


def _civil(days: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Month and day of month (from 1) of days since 1970-01-01.

    The calendar is shifted to years that begin in March, so that the leap day is a year's last
    day; 719,468 days lie between 0000-03-01 and 1970-01-01 (Hinnant, "chrono-compatible low-level
    date algorithms").
    """
    shifted = days + 719_468
    day_of_era = shifted % 146_097
    year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * march_month + 2) // 5 + 1
    month = tf.where(march_month < 10, march_month + 3, march_month - 9)
    return month, day


class ScaledNumber(tf.Module):
    """`(x - mean) / deviation`, of x or of log(1 + max(x, 0)), cut at ten deviations."""

    def __init__(self, feature: NumericFeature, statistics: dict[str, Any]) -> None:
        super().__init__(name=feature.name)
        self._log = feature.transform == "log"
        self._mean = float(statistics["mean"] or 0.0)
        # A factor, not a divisor: the graph optimiser would turn a division by a constant into a
        # multiplication and change the last bit between eager and exported use.
        self._factor = 1.0 / (float(statistics["std"] or 0.0) or 1.0)

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Tokens `[batch, 2]` float32: scaled value (0 where missing), and 1 where missing."""
        missing = tf.math.is_nan(values)
        values = tf.where(missing, 0.0, values)
        if self._log:
            values = tf.math.log1p(tf.maximum(values, 0.0))
        scaled = (values - self._mean) * self._factor
        scaled = tf.clip_by_value(scaled, -MOST_DEVIATIONS, MOST_DEVIATIONS)
        scaled = tf.where(missing, 0.0, scaled)
        return tf.stack([scaled, tf.cast(missing, tf.float32)], axis=1)


class Bucket(tf.Module):
    """Quantile bucket of a number: 0 missing, 1 below the first boundary, and so on."""

    def __init__(self, feature: NumericFeature, statistics: dict[str, Any]) -> None:
        super().__init__(name=feature.name)
        boundaries = sorted(float(value) for value in statistics["boundaries"])
        self._bucket = keras.layers.Discretization(boundaries)
        self.num_rows = len(boundaries) + 2

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Tokens `[batch]` int32; a value equal to a boundary is in the bucket above it."""
        bucket = tf.cast(self._bucket(values), tf.int32)
        return tf.where(tf.math.is_nan(values), 0, bucket + 1)
