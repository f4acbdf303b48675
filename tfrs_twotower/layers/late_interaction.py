"""Late interaction (ColBERT: Khattab and Zaharia, SIGIR 2020): the tokens of texts as heads.

With unit vectors q_i of a query's tokens and d_j of a candidate's,

    s(q, d) = sum_i w_i max_j <q_i, d_j>,    sum_i w_i = 1,

which is the score of an FE-Block whose query heads are w_i q_i and whose candidate heads are d_j.
Texts differ in length, and numbers of heads do not: a missing query token is a head of zeros, which
adds nothing, and a missing candidate token repeats the first one, which changes no maximum. So the
kernels, the storage and the served operations of heads need no mask.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf


class TokenVectors(NamedTuple):
    """What an encoder knows of each token of a text."""

    vectors: tf.Tensor
    """`[batch, width, dim]`."""
    weights: tf.Tensor
    """`[batch, width]` > 0; 0 where there is no token."""


def joined(texts: Sequence[TokenVectors], most: int) -> TokenVectors:
    """The first tokens of all texts of a row, at most `most`; missing ones come last."""
    vectors = tf.concat([text.vectors for text in texts], axis=1)
    weights = tf.concat([text.weights for text in texts], axis=1)
    missing = tf.cast(weights == 0.0, tf.int32)
    order = tf.argsort(missing, axis=1, stable=True)[:, :most]
    return TokenVectors(
        tf.gather(vectors, order, batch_dims=1), tf.gather(weights, order, batch_dims=1)
    )


def query_heads(tokens: TokenVectors) -> tf.Tensor:
    """`[batch, width, dim]` unit vectors times their share of the weights; zeros where missing."""
    total = tf.reduce_sum(tokens.weights, axis=1, keepdims=True)
    shares = tf.math.divide_no_nan(tokens.weights, total)
    return shares[:, :, tf.newaxis] * tokens.vectors


def candidate_heads(tokens: TokenVectors) -> tf.Tensor:
    """`[batch, width, dim]` unit vectors, the first one where one is missing; zeros without any."""
    present = (tokens.weights > 0.0)[:, :, tf.newaxis]
    first = tf.where(present[:, :1], tokens.vectors[:, :1], 0.0)
    return tf.where(present, tokens.vectors, first)
