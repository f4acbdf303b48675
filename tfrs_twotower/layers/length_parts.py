"""Encoding of a batch of texts in parts of similar length, so that short texts cost less.

A contextual encoder computes every place of its input, whether a token is there or not, and the
longest text of a batch sets the width for all. Here the texts are ordered by length and cut into a
few parts of equal size, each as wide as its own longest text. No text of a batch is changed, left
out or moved to another batch, so that negatives are what they were.
"""

from collections.abc import Callable

import tensorflow as tf

_PARTS = 4
_LEAST_PARTED = 32
"""A smaller batch is one part: the operations of several would cost more than they save."""
_LEAST_WIDTH = 12
"""Texts of fewer places are one part, too, for the same reason."""


def in_parts_of_similar_length(
    encode: Callable[[tf.Tensor], tf.Tensor], tokens: tf.Tensor, *, training: bool
) -> tf.Tensor:
    """Encodes a batch of texts without the places that no text of a part uses.

    Args:
        encode: from tokens `[n, w]`, w >= 1, to `[n, ...]`. A row of its result must not depend on
            other rows, nor on padding behind its last token.
        tokens: `[batch, width]` int32, 0 is padding.
        training: whether a gradient is taken; then the batch is always cut, because a batch of
            training is large, and its graph has no branches.

    Returns:
        `[batch, ...]`, the rows in the order of the batch.
    """
    if tokens.shape[1] < _LEAST_WIDTH:
        return encode(tokens)
    if not tf.executing_eagerly():  # traced once, whatever the number of parts
        given = tf.TensorSpec([None, None], tokens.dtype)
        encode = tf.function(encode, input_signature=[given], autograph=False)
    ends = tf.range(1, tf.shape(tokens)[1] + 1)
    lengths = tf.reduce_max(tf.where(tokens > 0, ends, 0), axis=1)

    def cut() -> tf.Tensor:
        order = tf.argsort(lengths, stable=True)
        size = tf.shape(order)[0]
        parts = [
            order[size * part // _PARTS : size * (part + 1) // _PARTS] for part in range(_PARTS)
        ]
        encoded = [
            encode(_trimmed(tf.gather(tokens, part), tf.gather(lengths, part))) for part in parts
        ]
        return tf.gather(tf.concat(encoded, axis=0), tf.math.invert_permutation(order))

    if training:
        return cut()
    return tf.cond(
        tf.shape(tokens)[0] < _LEAST_PARTED, lambda: encode(_trimmed(tokens, lengths)), cut
    )


def _trimmed(tokens: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """The tokens as wide as the longest of these texts, and at least one place wide."""
    return tokens[:, : tf.maximum(tf.reduce_max(lengths), 1)]
