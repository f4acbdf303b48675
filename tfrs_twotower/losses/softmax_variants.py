"""In-batch softmax with refined logQ, and with same-tower (SamToNe) or mined negatives (ANCE)."""

import math

import numpy as np
import tensorflow as tf

from tfrs_twotower.losses import in_batch_softmax


def refined_softmax(
    scores: tf.Tensor,
    *,
    temperature: tf.Tensor | float = 1.0,
    sampling_probability: tf.Tensor | None = None,
    logq_strength: float = 1.0,
    hidden: tf.Tensor | None = None,
    positive_columns: tf.Tensor | None = None,
    margins: tf.Tensor | None = None,
) -> tf.Tensor:
    """Softmax with a correction that leaves out the positive, which was not sampled.

    `in_batch_softmax` corrects the positive as if it had been sampled into the batch, but it is
    always there. Khrylchenko et al. (RecSys 2025) leave it out of the correction: the gradient of
    the full softmax is (1 - pi_i) times that of log sum_{j != i} exp(z_ij) - z_ii, so

    L_i = sg(1 - pi_i) * (log sum_{j != i} exp(s_ij / t - log p_j) - s_ii / t),

    where pi_i, the model's probability of the positive, is estimated from the same negatives and sg
    stops the gradient. Examples that the model has already learned get little weight.

    Only the gradient has a meaning: the value may be negative, and a falling value does not show
    that the model learns.

    Args:
        scores: `[batch, columns]`.
        temperature: divisor of the scores.
        sampling_probability: `[columns]`, > 0: the *expected number of occurrences* of the
            candidate among the columns. Its scale matters, because 1 - pi depends on it.
        logq_strength: multiplier of the correction.
        hidden: `[batch, columns]` bool: mask of pairs that must not count as negatives. Their
            gradient is exactly 0.
        positive_columns: `[batch]` int: column of each row's positive; by default column i for
            row i.
        margins: `[batch, n]` of mined negatives, see `mined_margins`; None without them.

    Returns:
        `[batch]` losses; 0 for a row without a negative.
    """
    logits = in_batch_softmax.correct_logits(
        scores,
        temperature=temperature,
        sampling_probability=sampling_probability,
        logq_strength=logq_strength,
    )
    if positive_columns is None:
        positive_columns = tf.range(tf.shape(scores)[0])
    own = in_batch_softmax.own_column(logits, positive_columns)
    left_out = own if hidden is None else tf.logical_or(own, hidden)
    gap = in_batch_softmax.log_odds_against(logits, left_out, own, positive_columns)
    if sampling_probability is not None:
        probability = tf.cast(tf.gather(sampling_probability, positive_columns), gap.dtype)
        gap -= logq_strength * tf.math.log(probability)
    alone = tf.reduce_all(left_out, axis=1)
    if margins is not None:
        gap = with_mined(gap, margins)
        alone = tf.logical_and(alone, tf.reduce_all(tf.math.is_inf(margins), axis=1))
    losses = tf.stop_gradient(tf.sigmoid(gap)) * gap
    return tf.where(alone, tf.zeros_like(losses), losses)


def mined_margins(
    anchor: tf.Tensor,
    positive: tf.Tensor,
    mined: tf.Tensor,
    present: tf.Tensor,
    *,
    temperature: tf.Tensor | float = 1.0,
) -> tf.Tensor:
    """How far the mined negatives of each row are above its positive: (s- - s+) / t.

    Args:
        anchor: `[batch, embedding_dim]`, the queries; or the candidates whose queries are ranked.
        positive: `[batch, embedding_dim]` of the other side.
        mined: `[batch, n, embedding_dim]` of the other side: each row's own negatives.
        present: `[batch, n]` bool, false at the padding of a short list.
        temperature: divisor of the scores.

    Returns:
        `[batch, n]`, -inf at padding, whose gradient is exactly 0.
    """
    scores = tf.linalg.matvec(mined, anchor) - tf.reduce_sum(anchor * positive, 1, keepdims=True)
    lowest = tf.constant(-np.inf, scores.dtype)
    return tf.where(present, scores / tf.cast(temperature, scores.dtype), lowest)


def with_mined(losses: tf.Tensor, margins: tf.Tensor) -> tf.Tensor:
    """Adds mined negatives to the softmax of each row: log(exp(L) + sum_m exp(margin_m)).

    L = log sum_j exp(z_j - z+) over the columns of a softmax, so that this is the same softmax with
    more columns. Their odds against the positive have no logQ correction, whatever that of the
    positive is: they were not sampled, but chosen for their scores. With one mined negative and
    none in the batch it is the loss of ANCE (Xiong et al., ICLR 2021), softplus((s- - s+) / t).

    Args:
        losses: `[batch]`, L.
        margins: `[batch, n]`, as `mined_margins` returns them.

    Returns:
        `[batch]` losses, at least L.
    """
    return in_batch_softmax.log_sum_exp(tf.concat([losses[:, tf.newaxis], margins], axis=1))


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
    """In-batch softmax with other rows of the same side as additional negatives.

    L_i = log(sum_j exp(z_ij) + w * sum_{j != i} exp(a_ij / t)) - z_ii, where z are the logits of
    `in_batch_softmax` and a the cosines inside one tower (SamToNe: Moiseev et al., Findings of ACL
    2023, with w = 1). The closer two queries are, the more they are pushed apart.

    This is one direction. The other is the same function of the transposed scores and the cosines
    of the other tower.

    Args:
        scores: `[batch, columns]`.
        same_tower_scores: `[batch, all]`: cosines of the batch's queries with those of all
            replicas; column `positive_columns[i]` is row i's own query and is always left out.
        temperature: divisor of both kinds of scores.
        sampling_probability: `[columns]`, > 0: expected number of occurrences of the candidate. The
            same-tower part is not corrected, because each of its columns occurs once.
        logq_strength: multiplier of the correction.
        hidden: `[batch, columns]` bool: mask of pairs that must not count as negatives.
        same_tower_hidden: `[batch, all]` bool: the same for pairs of queries, such as duplicates.
        positive_columns: `[batch]` int; by default column i for row i.
        same_tower_weight: w, > 0.

    Returns:
        `[batch]` losses, at least those of `in_batch_softmax`. Hidden pairs have gradient exactly
        0.
    """
    corrected = in_batch_softmax.correct_logits(
        scores,
        temperature=temperature,
        sampling_probability=sampling_probability,
        logq_strength=logq_strength,
    )
    logits, positive, positive_columns = in_batch_softmax.masked_logits(
        corrected, hidden, positive_columns
    )
    same = in_batch_softmax.correct_logits(same_tower_scores, temperature=temperature) + math.log(
        same_tower_weight
    )
    left_out = in_batch_softmax.own_column(same, positive_columns)
    if same_tower_hidden is not None:
        left_out = tf.logical_or(left_out, same_tower_hidden)
    same = tf.where(left_out, tf.constant(-np.inf, same.dtype), same)
    return in_batch_softmax.log_sum_exp(tf.concat([logits, same], axis=1)) - positive
