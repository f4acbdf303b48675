"""Losses of single (query, candidate) pairs."""

import tensorflow as tf


def binary_cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, *, present: tf.Tensor | None = None
) -> tf.Tensor:
    """Mean cross entropy of independent yes-or-no answers, from logits.

    L = max(z, 0) - z y + log(1 + exp(-|z|)), which overflows nowhere.

    Args:
        logits: `[batch, n]`.
        labels: `[batch, n]` in [0, 1].
        present: `[batch, n]` bool: entries that count. What is absent has gradient exactly 0,
            whatever stands there. By default all count.

    Returns:
        `[batch]`: the mean over a row's present entries, 0 if it has none.
    """
    labels = tf.cast(labels, logits.dtype)
    if present is not None:
        logits = tf.where(present, logits, tf.zeros_like(logits))
        labels = tf.where(present, labels, tf.zeros_like(labels))
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    return mean_of_present(losses, present)


def mean_of_present(values: tf.Tensor, present: tf.Tensor | None) -> tf.Tensor:
    """Mean of each row over its present entries.

    Args:
        values: `[batch, n]`, finite.
        present: `[batch, n]` bool; None stands for all.

    Returns:
        `[batch]`, 0 where nothing is present.
    """
    if present is None:
        return tf.reduce_mean(values, axis=1)
    counts = tf.cast(present, values.dtype)
    total = tf.reduce_sum(values * counts, axis=1)
    return tf.math.divide_no_nan(total, tf.reduce_sum(counts, axis=1))
