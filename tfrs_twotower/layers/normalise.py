"""L2 normalisation that a zero vector survives."""

import tensorflow as tf

_LEAST_SQUARED_NORM = 1e-12


def l2_normalise(vectors: tf.Tensor) -> tf.Tensor:
    """Divides each row by its norm; rows shorter than 1e-6 are divided by 1e-6.

    A zero row stays zero. The gradient there would be scaled by a million, so towers keep away
    from it: the bias of their sum starts at small random values, not at zero.

    Args:
        vectors: `[batch, dim]`.
    """
    squared = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    return vectors * tf.math.rsqrt(tf.maximum(squared, _LEAST_SQUARED_NORM))
