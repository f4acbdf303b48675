"""Losses over a query's list of candidates: pointwise, and distilled from a teacher's scores."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.losses.in_batch_softmax import log_sum_exp


def binary_cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, *, present: tf.Tensor | None = None
) -> tf.Tensor:
    """Mean cross entropy of independent binary labels, from logits.

    L = max(z, 0) - z y + log(1 + exp(-|z|)), which does not overflow.

    Args:
        logits: `[batch, n]`.
        labels: `[batch, n]` in [0, 1].
        present: `[batch, n]` bool: mask of entries that count; all by default. Absent entries have
            gradient exactly 0, whatever their values.

    Returns:
        `[batch]`: the mean over a row's present entries, 0 if there are none.
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
        present: `[batch, n]` bool; None means that all are present.

    Returns:
        `[batch]`, 0 for a row without a present entry.
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
        teacher: `[batch, n]` scores of the same candidates; they receive no gradient.
        teacher_temperature: divisor of the teacher's scores.
        student_temperature: divisor of the student's scores.
        present: `[batch, n]` bool: mask of filled list entries; all by default. Absent entries have
            probability and gradient exactly 0.

    Returns:
        `[batch]`, >= 0; 0 for an empty list.
    """
    if present is None:
        present = tf.ones_like(student, tf.bool)
    teacher = tf.stop_gradient(tf.cast(teacher, student.dtype))
    log_t = _log_probabilities(teacher / teacher_temperature, present)
    log_s = _log_probabilities(student / tf.cast(student_temperature, student.dtype), present)
    probabilities = tf.where(present, tf.exp(log_t), tf.zeros_like(log_t))
    return tf.reduce_sum(probabilities * (log_t - log_s), axis=1)


def margin_mse(
    student: tf.Tensor, teacher: tf.Tensor, *, present: tf.Tensor | None = None
) -> tf.Tensor:
    """Mean squared error of margins: ((s_0 - s_j) - (t_0 - t_j))^2 over the negatives j of a list.

    Hofstaetter et al. (2020), equation 3. The student's scores need the scale of the teacher's:
    cosines cannot reach margins above 2 without a (learned) factor.

    Args:
        student: `[batch, n]` scores, n >= 2; the positive is in column 0.
        teacher: `[batch, n]` scores of the same candidates; they receive no gradient.
        present: `[batch, n]` bool: mask of filled list entries; all by default. Absent entries have
            gradient exactly 0.

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
    """Log-softmax over the present entries; the others get finite values without a meaning."""
    filled = tf.where(present, logits, tf.zeros_like(logits))
    empty = tf.logical_not(tf.reduce_any(present, axis=1, keepdims=True))
    considered = tf.logical_or(present, empty)
    lowest = tf.constant(-np.inf, logits.dtype)
    total = log_sum_exp(tf.where(considered, filled, lowest))
    return filled - total[:, tf.newaxis]
