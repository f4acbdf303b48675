"""What training hides at random: ids, events, tokens, activations."""

import zlib
from collections.abc import Sequence

import tensorflow as tf

UNKNOWN_ROW = 1


class Hiding(tf.Module):
    """A seeded source of random masks; its state is saved with a checkpoint.

    A tower asks it only while training, so nothing of it stands in an exported graph.
    """

    def __init__(self, seed: int, name: str) -> None:
        super().__init__(name="hiding")
        self._random = tf.random.Generator.from_seed(
            [seed & 0x7FFFFFFF, zlib.crc32(name.encode()), 0], alg="philox"
        )

    def keep(self, values: tf.Tensor, rate: float) -> tf.Tensor:
        """Boolean mask of the values' shape; each entry is False with probability `rate`."""
        return self._random.uniform(tf.shape(values)) >= rate

    def ids(self, ids: tf.Tensor, rate: float) -> tf.Tensor:
        """The ids, a share `rate` of the known ones replaced by the unknown row."""
        hidden = ~self.keep(ids, rate) & (ids > UNKNOWN_ROW)
        return tf.where(hidden, UNKNOWN_ROW, ids)

    def entries(self, ids: tf.Tensor, rate: float) -> tf.Tensor:
        """The ids, a share `rate` of them replaced by padding."""
        return tf.where(self.keep(ids, rate), ids, 0)

    def dropout(self, values: tf.Tensor, rate: float) -> tf.Tensor:
        """Inverted dropout: kept values are divided by `1 - rate`."""
        return tf.where(self.keep(values, rate), values / (1.0 - rate), 0.0)

    def noise(self, shape: Sequence[int | tf.Tensor]) -> tf.Tensor:
        """Standard normal values, drawn anew at each call."""
        return self._random.normal(shape)
