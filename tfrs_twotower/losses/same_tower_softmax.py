"""Softmax with same-tower negatives (SamToNe)."""

import math

import numpy as np
import tensorflow as tf

from tfrs_twotower.losses.in_batch_softmax import (
    correct_logits,
    hide,
    log_sum_exp,
    own_column,
)


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
