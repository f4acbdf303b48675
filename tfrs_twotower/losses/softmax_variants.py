"""In-batch softmax with the refined logQ correction, and with same-tower negatives (SamToNe)."""

import math

import numpy as np
import tensorflow as tf

from tfrs_twotower.losses.in_batch_softmax import (
    correct_logits,
    hide,
    log_sum_exp,
    own_column,
)


def refined_softmax(
    scores: tf.Tensor,
    *,
    temperature: tf.Tensor | float = 1.0,
    sampling_probability: tf.Tensor | None = None,
    logq_strength: float = 1.0,
    hidden: tf.Tensor | None = None,
    positive_columns: tf.Tensor | None = None,
) -> tf.Tensor:
    """Softmax whose correction knows that the positive was not sampled.

    `in_batch_softmax` corrects the positive as if chance had put it into the batch, while it is
    there always. Khrylchenko et al. (RecSys 2025) take it out of the correction: the gradient of
    the full softmax is (1 - pi_i) times that of log sum_{j != i} exp(z_ij) - z_ii, so

    L_i = sg(1 - pi_i) * (log sum_{j != i} exp(s_ij / t - log p_j) - s_ii / t),

    where pi_i, the model's probability of the positive, is estimated by the same negatives and sg
    stops the gradient. What the model has learned already weighs little.

    Only the gradient has a meaning: the value may be negative, and falling is no sign of learning.

    Args:
        scores: `[batch, columns]`.
        temperature: divisor of the scores.
        sampling_probability: `[columns]`, > 0: the *expected number of occurrences* of the
            candidate among the columns, not only up to a factor: 1 - pi depends on its scale.
        logq_strength: multiplier of the correction.
        hidden: `[batch, columns]` bool: candidates that are no negatives of that query. Their
            gradient is exactly 0.
        positive_columns: `[batch]` int: the positive's column; by default row i has column i.

    Returns:
        `[batch]` losses; 0 for a row that has no negative left.
    """
    logits = correct_logits(
        scores,
        temperature=temperature,
        sampling_probability=sampling_probability,
        logq_strength=logq_strength,
    )
    if positive_columns is None:
        positive_columns = tf.range(tf.shape(scores)[0])
    positive = tf.gather(scores, positive_columns, batch_dims=1)
    positive /= tf.cast(temperature, scores.dtype)
    left_out = own_column(logits, positive_columns)
    if hidden is not None:
        left_out = tf.logical_or(left_out, hidden)
    alone = tf.reduce_all(left_out, axis=1)
    logits = tf.where(left_out, tf.constant(-np.inf, logits.dtype), logits)
    # A row must not be -inf altogether; the loss of such a row is dropped below.
    logits = tf.where(alone[:, tf.newaxis], tf.zeros_like(logits), logits)
    behind = log_sum_exp(logits) - positive
    losses = tf.stop_gradient(tf.sigmoid(behind)) * behind
    return tf.where(alone, tf.zeros_like(losses), losses)


def same_tower_softmax(
    scores: tf.Tensor,
    same_tower_scores: tf.Tensor,
    *,
    temperature: tf.Tensor | float = 1.0,
    sampling_probability: tf.Tensor | None = None,
    logq_strength: float = 1.0,
    hidden: tf.Tensor | None = None,
    same_tower_hidden: tf.Tensor | None = None,
    positive_columns: tf.Tensor | None = None,
    same_tower_weight: float = 1.0,
) -> tf.Tensor:
    """In-batch softmax whose negatives are other rows of the same side, too.

    L_i = log(sum_j exp(z_ij) + w * sum_{j != i} exp(a_ij / t)) - z_ii, with z the logits of
    `in_batch_softmax` and a the cosines inside one tower (Moiseev et al., Findings of ACL 2023,
    equation of SamToNe; w = 1 there). Crowded queries are pushed apart as much as they need.

    This is one direction; the other is the same function of the transposed scores and of the
    other tower's cosines.

    Args:
        scores: `[batch, columns]`.
        same_tower_scores: `[batch, all]`: cosines of the batch's queries with those of all
            replicas; row i's own query stands at `positive_columns[i]` and is always left out.
        temperature: divisor of both kinds of scores.
        sampling_probability: `[columns]`, > 0: expected number of occurrences of the candidate. The
            same-tower part is not corrected: each of its columns occurs once.
        logq_strength: multiplier of the correction.
        hidden: `[batch, columns]` bool: candidates that are no negatives of that query.
        same_tower_hidden: `[batch, all]` bool: queries that are none, such as its duplicates.
        positive_columns: `[batch]` int; by default row i has column i.
        same_tower_weight: w, > 0.

    Returns:
        `[batch]` losses, at least those of `in_batch_softmax`. The gradient of what is hidden is
        exactly 0.
    """
    logits = correct_logits(
        scores,
        temperature=temperature,
        sampling_probability=sampling_probability,
        logq_strength=logq_strength,
    )
    if positive_columns is None:
        positive_columns = tf.range(tf.shape(scores)[0])
    positive = tf.gather(logits, positive_columns, batch_dims=1)
    if hidden is not None:
        logits = hide(logits, hidden, positive_columns)
    same = correct_logits(same_tower_scores, temperature=temperature) + math.log(same_tower_weight)
    left_out = own_column(same, positive_columns)
    if same_tower_hidden is not None:
        left_out = tf.logical_or(left_out, same_tower_hidden)
    same = tf.where(left_out, tf.constant(-np.inf, same.dtype), same)
    return log_sum_exp(tf.concat([logits, same], axis=1)) - positive
