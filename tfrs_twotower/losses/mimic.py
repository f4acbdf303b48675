"""Adaptive-mimic loss of DAT: an augmented vector imitates the other tower's output."""

import tensorflow as tf


def mimic(augmented: tf.Tensor, other: tf.Tensor, *, labels: tf.Tensor | None = None) -> tf.Tensor:
    """Squared distance to the other tower's output, for positive pairs only.

    L_i = y_i ||a_i - sg(p_i)||^2, which is ||y a + (1 - y) sg(p) - sg(p)||^2 of Yu et al. (DLP-KDD
    2021) for y in {0, 1}; sg stops the gradient. A query's vector imitates its candidate's
    embedding and a candidate's vector its query's. For fixed towers the least of the sum is at the
    mean of the id's positives.

    Public code differs in two ways that matter: without sg positives pull the towers towards the
    augmented vectors, and a sum over batch or dimensions changes the term's weight with their size.

    Args:
        augmented: `[batch, dim]` a.
        other: `[batch, dim]` p, the other tower's embeddings.
        labels: `[batch]` y; by default all pairs are positive.

    Returns:
        `[batch]`, a sum over the dimension.
    """
    losses = tf.reduce_sum(tf.math.squared_difference(augmented, tf.stop_gradient(other)), axis=1)
    if labels is None:
        return losses
    return tf.cast(labels, losses.dtype) * losses
