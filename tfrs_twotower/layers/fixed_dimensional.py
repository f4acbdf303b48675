"""Fixed dimensional encodings (MUVERA: Dhulipala et al., NeurIPS 2024): MaxSim as an inner product.

Random hyperplanes cut the space into 2^bits buckets. A query's encoding is, for each bucket, the
sum of its heads there; a candidate's is the mean of its tokens there, and in an empty bucket that
of the tokens whose buckets differ in the fewest bits. Tokens that are close share most buckets, so
the inner product estimates sum_i max_j <q_i, d_j>. Repetitions with other hyperplanes are
concatenated and divided by the root of their number, so that the inner product is the mean of the
estimates.

A last entry of 0.001 on both sides keeps a row without a token from being zero, which no index
takes; it adds the same millionth to every score.
"""

import numpy as np
import tensorflow as tf

from tfrs_twotower.layers.late_interaction import TokenVectors, query_heads
from tfrs_twotower.layers.seeded import WeightMaker

_LAST = 1e-3


class Buckets(tf.Module):
    """The hyperplanes, which both sides share and training leaves as they are."""

    def __init__(self, weights: WeightMaker, dim: int, repetitions: int, bits: int) -> None:
        """Draws `repetitions` times `bits` hyperplanes through the origin of `dim` dimensions."""
        super().__init__(name="buckets")
        self._planes = weights.fixed_normal("planes", [repetitions, bits, dim])
        self._num = 2**bits

    def query(self, tokens: TokenVectors) -> tf.Tensor:
        """Encodes queries of unit vectors: `[batch, repetitions * 2^bits * dim + 1]`."""
        inside = tf.cast(self._differing_bits(tokens.vectors) == 0, tf.float32)
        return _joined(tf.einsum("bwrc,bwd->brcd", inside, query_heads(tokens)))

    def candidate(self, tokens: TokenVectors) -> tf.Tensor:
        """Encodes candidates of unit vectors, in the same shape."""
        present = (tokens.weights > 0.0)[:, :, tf.newaxis, tf.newaxis]
        differing = tf.where(present, self._differing_bits(tokens.vectors), self._num)
        nearest = differing == tf.reduce_min(differing, axis=1, keepdims=True)
        chosen = tf.cast(nearest & present, tf.float32)
        shares = tf.math.divide_no_nan(chosen, tf.reduce_sum(chosen, axis=1, keepdims=True))
        return _joined(tf.einsum("bwrc,bwd->brcd", shares, tokens.vectors))

    def _differing_bits(self, vectors: tf.Tensor) -> tf.Tensor:
        """`[batch, width, repetitions, buckets]` int32: bits between a vector's bucket and each."""
        positive = tf.einsum("bwd,rkd->bwrk", vectors, self._planes) > 0.0
        bits = self._planes.shape[1]
        of_bucket = (np.arange(self._num)[:, np.newaxis] >> np.arange(bits)) % 2 == 1
        unequal = positive[:, :, :, tf.newaxis] != of_bucket
        return tf.reduce_sum(tf.cast(unequal, tf.int32), axis=4)


def _joined(blocks: tf.Tensor) -> tf.Tensor:
    """`[batch, repetitions, buckets, dim]` as vectors, with the last entry."""
    repetitions, buckets, dim = blocks.shape[1:]
    vectors = tf.reshape(blocks, [-1, repetitions * buckets * dim]) / repetitions**0.5
    return tf.pad(vectors, [[0, 0], [0, 1]], constant_values=_LAST)
