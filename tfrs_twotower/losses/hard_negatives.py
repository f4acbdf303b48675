"""Keeping only the hardest negatives of a batch."""

import tensorflow as tf

from tfrs_twotower.losses.in_batch_softmax import hide, own_column


def keep_hardest(
    logits: tf.Tensor, *, num_hard_negatives: int, positive_columns: tf.Tensor
) -> tf.Tensor:
    """Hides all but the positive and the negatives with the largest logits.

    TFRS's layer of this purpose returns a loss of 0 without a word when the number is 0; this one
    refuses it.

    Args:
        logits: `[batch, columns]`.
        num_hard_negatives: how many stay, at least 1; all of them if there are fewer. Negatives
            that tie with the last one stay too.
        positive_columns: `[batch]` int.

    Returns:
        `[batch, columns]`, -inf at what is hidden.

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
    # No negative at all (one column): nothing to hide.
    threshold = tf.reduce_min(best, axis=1, keepdims=True)
    return hide(logits, negatives < threshold, positive_columns)
