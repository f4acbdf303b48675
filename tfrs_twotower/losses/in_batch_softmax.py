"""Softmax over the candidates of a batch with logQ correction, and the masks of its logits."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf


def correct_logits(
    scores: tf.Tensor,
    *,
    temperature: tf.Tensor | float = 1.0,
    sampling_probability: tf.Tensor | None = None,
    logq_strength: float = 1.0,
) -> tf.Tensor:
    """Turns scores into logits: score / temperature - strength * log(probability).

    The correction follows the temperature (Yi et al., RecSys 2019, equation 3). It applies to every
    column, the positive's own included. A factor common to all columns changes nothing.

    Args:
        scores: `[batch, columns]`.
        temperature: divisor of the scores.
        sampling_probability: `[columns]`, > 0: probability, or expected number of occurrences, of
            the column's candidate in a batch. None omits the correction.
        logq_strength: 1 is the unbiased correction, 0 omits the correction.

    Returns:
        `[batch, columns]`, of the type of the scores.
    """
    logits = scores
    if tf.is_tensor(temperature) or temperature != 1.0:
        logits /= tf.cast(temperature, scores.dtype)
    if sampling_probability is not None and logq_strength != 0.0:
        correction = tf.math.log(tf.cast(sampling_probability, scores.dtype))
        logits -= logq_strength * correction[tf.newaxis, :]
    return logits


def in_batch_softmax(
    scores: tf.Tensor,
    *,
    temperature: tf.Tensor | float = 1.0,
    sampling_probability: tf.Tensor | None = None,
    logq_strength: float = 1.0,
    hidden: tf.Tensor | None = None,
    positive_columns: tf.Tensor | None = None,
) -> tf.Tensor:
    """Cross entropy of each query's positive against every candidate of the batch.

    L_i = log sum_j exp(z_ij) - z_ip(i), where z = `correct_logits(scores)` and p(i) is the
    positive's column (Yi et al., RecSys 2019, equation 4, without the mean and the reward). Columns
    beyond the batch are additional negatives (mixed negative sampling, Yang et al., WWW 2020).

    Args:
        scores: `[batch, columns]`.
        temperature: divisor of the scores.
        sampling_probability: `[columns]`, > 0; see `correct_logits`.
        logq_strength: multiplier of the correction.
        hidden: `[batch, columns]` bool: mask of pairs that must not count as negatives. Their
            probability and gradient are exactly 0. The positive is never hidden.
        positive_columns: `[batch]` int: column of each row's positive; by default column i for
            row i.

    Returns:
        `[batch]` losses, >= 0.
    """
    logits = correct_logits(
        scores,
        temperature=temperature,
        sampling_probability=sampling_probability,
        logq_strength=logq_strength,
    )
    if positive_columns is None:
        positive_columns = tf.range(tf.shape(logits)[0])
    own = own_column(logits, positive_columns)
    left_out = None if hidden is None else _hidden_negatives(hidden, own)
    return log_odds_against(logits, left_out, own, positive_columns)


def log_odds_against(
    logits: tf.Tensor, left_out: tf.Tensor | None, own: tf.Tensor, positive_columns: tf.Tensor
) -> tf.Tensor:
    """Log sum_j exp(z_ij) - z_ip(i) over the columns that are not left out.

    Its gradient is written down, softmax - 1 at the positive, because each pass over all pairs
    takes as long as a tenth of the matrix products of a step, and the gradients of `tf.gather` and
    `tf.where` would be eight such passes.

    Args:
        logits: `[batch, columns]`.
        left_out: `[batch, columns]` bool; None leaves nothing out. Where a whole row is left out,
            its result is a very large negative number.
        own: `own_column(logits, positive_columns)`.
        positive_columns: `[batch]` int.

    Returns:
        `[batch]`.
    """

    @tf.custom_gradient
    def log_odds(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        # Not infinite, so that a row of nothing else has a softmax.
        lowest = tf.constant(logits.dtype.min / 2, logits.dtype)
        visible = logits if left_out is None else tf.where(left_out, lowest, logits)
        total, softmax = _log_sum_exp(visible)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return (softmax - tf.cast(own, softmax.dtype)) * upstream[:, tf.newaxis]

        return total - tf.gather_nd(logits, _cells(positive_columns)), gradient

    return log_odds(tf.convert_to_tensor(logits))


def masked_logits(
    logits: tf.Tensor, hidden: tf.Tensor | None, positive_columns: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Finds the positives of corrected logits, and hides the pairs of the mask.

    Args:
        logits: `[batch, columns]`, as `correct_logits` returns them.
        hidden: `[batch, columns]` bool; None hides nothing.
        positive_columns: `[batch]` int; by default column i for row i.

    Returns:
        Logits `[batch, columns]`, -inf at hidden pairs; logits of the positives `[batch]`; and
        their columns `[batch]`.
    """
    if positive_columns is None:
        positive_columns = tf.range(tf.shape(logits)[0])
    positive = entry_of_each_row(logits, positive_columns)
    if hidden is not None:
        logits = hide(logits, hidden, positive_columns)
    return logits, positive, positive_columns


def hide(logits: tf.Tensor, hidden: tf.Tensor, positive_columns: tf.Tensor) -> tf.Tensor:
    """Gives hidden candidates the logit -inf; the positive keeps its own.

    The result is meant for log-sum-exp: cross entropy with dense labels turns -inf into NaN.

    Args:
        logits: `[batch, columns]`.
        hidden: `[batch, columns]` bool.
        positive_columns: `[batch]` int.

    Returns:
        `[batch, columns]`.
    """
    lowest = tf.constant(-np.inf, logits.dtype)
    own = own_column(logits, positive_columns)
    return tf.where(_hidden_negatives(hidden, own), lowest, logits)


def _hidden_negatives(hidden: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
    return tf.logical_and(hidden, tf.logical_not(own))


@tf.custom_gradient
def entry_of_each_row(
    logits: tf.Tensor, columns: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None]]]:
    """Gathers one entry of each row.

    The gradient of `tf.gather` adds up segments, a segment for each pair, and takes as long as a
    matrix product of all pairs; no cell occurs twice here, so that it can be scattered.

    Args:
        logits: `[batch, columns]`.
        columns: `[batch]` int.

    Returns:
        `[batch]`.
    """
    cells, shape = _cells(columns), tf.shape(logits, columns.dtype)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
        return tf.scatter_nd(cells, upstream, shape), None

    return tf.gather_nd(logits, cells), gradient


def _cells(columns: tf.Tensor) -> tf.Tensor:
    """Indices `[batch, 2]` of one cell in each row, from its column `[batch]`."""
    columns = tf.convert_to_tensor(columns)
    return tf.stack([tf.range(tf.size(columns, columns.dtype)), columns], axis=1)


def own_column(logits: tf.Tensor, positive_columns: tf.Tensor) -> tf.Tensor:
    """Marks the column of each row's positive.

    Args:
        logits: `[batch, columns]`.
        positive_columns: `[batch]` int.

    Returns:
        `[batch, columns]` bool, true once in each row.
    """
    columns = tf.range(tf.shape(logits)[1], dtype=positive_columns.dtype)
    return columns[tf.newaxis, :] == positive_columns[:, tf.newaxis]


@tf.custom_gradient
def log_sum_exp(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Log-sum-exp over the columns, log sum_j exp(z_ij); the gradient reuses the exponentials.

    `tf.reduce_logsumexp` computes them a second time in the backward pass.

    Args:
        logits: `[batch, columns]`; -inf adds nothing. Each row needs at least one finite logit.

    Returns:
        `[batch]`; the gradient is the softmax.
    """
    total, softmax = _log_sum_exp(logits)
    return total, lambda upstream: softmax * upstream[:, tf.newaxis]


def _log_sum_exp(logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Log-sum-exp `[batch]` and softmax `[batch, columns]`, which is one fused operation.

    A row's largest probability is exp(largest logit) / sum, and too large to underflow.
    """
    softmax = tf.nn.softmax(logits)
    largest = tf.minimum(tf.reduce_max(softmax, axis=1), 1.0)
    return tf.reduce_max(logits, axis=1) - tf.math.log(largest), softmax


def keep_hardest(
    logits: tf.Tensor, *, num_hard_negatives: int, positive_columns: tf.Tensor
) -> tf.Tensor:
    """Hides all but the positive and the negatives with the largest logits.

    With `num_hard_negatives=0` the corresponding layer of TFRS silently returns a loss of 0; this
    function refuses it.

    Args:
        logits: `[batch, columns]`.
        num_hard_negatives: number of negatives to keep, at least 1. If a row has fewer, all are
            kept; negatives with the same logit as the last one are kept too.
        positive_columns: `[batch]` int.

    Returns:
        `[batch, columns]`, -inf at hidden negatives.

    Raises:
        ValueError: `num_hard_negatives` is below 1.
    """
    if num_hard_negatives < 1:
        raise ValueError(
            f"num_hard_negatives is {num_hard_negatives}; it must be at least 1, or None to keep "
            "all negatives"
        )
    own = own_column(logits, positive_columns)
    negatives = tf.where(own, logits.dtype.min, logits)
    k = tf.minimum(num_hard_negatives, tf.shape(logits)[1] - 1)
    best = tf.math.top_k(tf.stop_gradient(negatives), k).values
    # With one column there are no negatives, and nothing is hidden.
    threshold = tf.reduce_min(best, axis=1, keepdims=True)
    return hide(logits, negatives < threshold, positive_columns)
