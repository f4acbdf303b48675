"""Numbers to tokens: scaled with a missing indicator, or a bucket."""

from typing import Any

import tensorflow as tf

from tfrs_twotower.specs import NumericFeature

MOST_DEVIATIONS = 10.0


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
        self._boundaries = tuple(sorted(float(value) for value in statistics["boundaries"]))
        self.num_rows = len(self._boundaries) + 2

    def __call__(self, values: tf.Tensor) -> tf.Tensor:
        """Tokens `[batch]` int32; a value equal to a boundary is in the bucket above it."""
        boundaries = tf.constant(self._boundaries, tf.float32)
        above = tf.searchsorted(boundaries, values, side="right")
        return tf.where(tf.math.is_nan(values), 0, above + 1)
