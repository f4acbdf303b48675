"""Losses of a query's list of candidates: pointwise, and from the scores of a stronger teacher."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.losses.in_batch_softmax import log_sum_exp


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


def listwise_kl(
    student: tf.Tensor,
    teacher: tf.Tensor,
    *,
    teacher_temperature: float = 1.0,
    student_temperature: tf.Tensor | float = 1.0,
    present: tf.Tensor | None = None,
) -> tf.Tensor:
    """Kullback-Leibler divergence of the student's distribution over a list from the teacher's.

    L = sum_j p_t(j) (log p_t(j) - log p_s(j)), p = softmax(score / temperature) (Hinton et al.,
    2015, equation 1, without its factor of the squared temperature).

    Args:
        student: `[batch, n]` scores.
        teacher: `[batch, n]` scores of the same candidates; no gradient goes there.
        teacher_temperature: divisor of the teacher's scores.
        student_temperature: divisor of the student's.
        present: `[batch, n]` bool: places of the list that are filled. What is absent has
            probability and gradient exactly 0. By default all are.

    Returns:
        `[batch]`, >= 0; 0 for an empty list.
    """
    if present is None:
        present = tf.ones_like(student, tf.bool)
    teacher = tf.stop_gradient(tf.cast(teacher, student.dtype))
    wanted = _log_probabilities(teacher / teacher_temperature, present)
    found = _log_probabilities(student / tf.cast(student_temperature, student.dtype), present)
    probabilities = tf.where(present, tf.exp(wanted), tf.zeros_like(wanted))
    return tf.reduce_sum(probabilities * (wanted - found), axis=1)


def margin_mse(
    student: tf.Tensor, teacher: tf.Tensor, *, present: tf.Tensor | None = None
) -> tf.Tensor:
    """Mean squared error of margins: ((s_0 - s_j) - (t_0 - t_j))^2 over the negatives j of a list.

    Hofstaetter et al. (2020), equation 3. The student's scores need the teacher's scale: cosines
    cannot reach margins above 2 without a (learned) factor.

    Args:
        student: `[batch, n]` scores, n >= 2; the positive stands in column 0.
        teacher: `[batch, n]` scores of the same candidates; no gradient goes there.
        present: `[batch, n]` bool: places of the list that are filled. What is absent has gradient
            exactly 0. By default all are.

    Returns:
        `[batch]`; 0 for a list without a positive or without a negative.
    """
    surplus = student - tf.stop_gradient(tf.cast(teacher, student.dtype))
    pairs = None
    if present is not None:
        surplus = tf.where(present, surplus, tf.zeros_like(surplus))
        pairs = tf.logical_and(present[:, :1], present[:, 1:])
    # (s_0 - s_j) - (t_0 - t_j) = (s_0 - t_0) - (s_j - t_j).
    return mean_of_present(tf.square(surplus[:, :1] - surplus[:, 1:]), pairs)


def _log_probabilities(logits: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Log-softmax over the present entries; finite, and without a meaning, at the others."""
    filled = tf.where(present, logits, tf.zeros_like(logits))
    empty = tf.logical_not(tf.reduce_any(present, axis=1, keepdims=True))
    considered = tf.logical_or(present, empty)
    lowest = tf.constant(-np.inf, logits.dtype)
    total = log_sum_exp(tf.where(considered, filled, lowest))
    return filled - total[:, tf.newaxis]
