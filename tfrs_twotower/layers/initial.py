"""Initial values that depend on the seed and the weight's name, not on the order of creation."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class WeightMaker:
    """Makes variables under dotted names, such as `query.fields.age.kernel`."""

    seed: int
    prefix: str = ""

    def under(self, name: str) -> "WeightMaker":
        """Returns a maker whose names begin with this maker's prefix and `name`."""
        return WeightMaker(self.seed, f"{self.prefix}{name}.")

    def normal(
        self, name: str, shape: Sequence[int], stddev: float, *, zero_rows: int = 0
    ) -> tf.Variable:
        """A float32 variable of normal values; its first `zero_rows` rows are zero."""
        path = self.prefix + name
        key = [self.seed & 0x7FFFFFFF, zlib.crc32(path.encode())]
        value = tf.random.stateless_normal(shape, key, stddev=stddev)
        if zero_rows:
            value *= tf.cast(tf.range(shape[0]) >= zero_rows, value.dtype)[:, tf.newaxis]
        return tf.Variable(value, name=path)

    def constant(self, name: str, shape: Sequence[int], value: float) -> tf.Variable:
        """A float32 variable of one value."""
        return tf.Variable(tf.fill(shape, float(value)), name=self.prefix + name)

    def identity(self, name: str, dim: int) -> tf.Variable:
        """A float32 variable that starts as the identity matrix."""
        return tf.Variable(tf.eye(dim), name=self.prefix + name)

    def state(self, name: str, shape: Sequence[int]) -> tf.Variable:
        """A float32 variable of zeros that is saved with the weights and is not trained.

        All replicas must write the same values to it.
        """
        return tf.Variable(
            tf.zeros(shape),
            trainable=False,
            name=self.prefix + name,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
