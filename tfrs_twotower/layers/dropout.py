"""Dropout of ids, list entries and activations during training, from one seeded source."""

import zlib
from collections.abc import Sequence

import tensorflow as tf

from tfrs_twotower.specs import UNKNOWN_ROW


class TrainingDropout(tf.Module):
    """A seeded source of random masks and noise; its state is saved with a checkpoint.

    A tower calls it only while training, so the exported graph does not contain it.
    """

    def __init__(self, seed: int, name: str) -> None:
        """Starts the random numbers.

        Args:
            seed: of the run.
            name: of the source; two sources of one seed draw different numbers.
        """
        super().__init__(name="dropout")
        self._random = tf.random.Generator.from_seed(
            [seed & 0x7FFFFFFF, zlib.crc32(name.encode()), 0], alg="philox"
        )

    def keep_mask(self, values: tf.Tensor, rate: float) -> tf.Tensor:
        """Boolean mask of the values' shape; each entry is False with probability `rate`."""
        return self._random.uniform(tf.shape(values)) >= rate

    def drop_ids(self, ids: tf.Tensor, rate: float) -> tf.Tensor:
        """Replaces each known id by the unknown row with probability `rate`."""
        dropped = ~self.keep_mask(ids, rate) & (ids > UNKNOWN_ROW)
        return tf.where(dropped, UNKNOWN_ROW, ids)

    def drop_entries(self, ids: tf.Tensor, rate: float) -> tf.Tensor:
        """Replaces each entry of a list by padding with probability `rate`."""
        return tf.where(self.keep_mask(ids, rate), ids, 0)

    def drop_activations(self, values: tf.Tensor, rate: float) -> tf.Tensor:
        """Inverted dropout: kept values are divided by `1 - rate`."""
        return tf.where(self.keep_mask(values, rate), values / (1.0 - rate), 0.0)

    def noise(self, shape: Sequence[int | tf.Tensor]) -> tf.Tensor:
        """Standard normal values, drawn anew at each call."""
        return self._random.normal(shape)
