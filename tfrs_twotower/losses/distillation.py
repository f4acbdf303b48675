"""Learning from the scores of a stronger teacher on the same list of candidates."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.losses.in_batch_softmax import log_sum_exp
from tfrs_twotower.losses.pointwise import mean_of_present


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
