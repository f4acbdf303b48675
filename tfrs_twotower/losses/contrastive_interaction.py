"""Contrastive regularisation of interaction heads (CIR of IntTower)."""

import tensorflow as tf

from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax


def contrastive_interaction(
    query_heads: tf.Tensor,
    candidate_heads: tf.Tensor,
    *,
    temperature: tf.Tensor | float,
    labels: tf.Tensor | None = None,
    hidden: tf.Tensor | None = None,
    positive_columns: tf.Tensor | None = None,
) -> tf.Tensor:
    """InfoNCE between the flattened heads of both sides.

    L_i = -y_i log(exp(u_i . v_i / t) / sum_j exp(u_i . v_j / t)), u and v the L2-normalised
    concatenations of a side's heads: the form that Li et al. (CIKM 2022) describe. The formula of
    their early code is not this one; it gives positive pairs no gradient at all.

    Args:
        query_heads: `[batch, query_heads, head_dim]` of the last layer.
        candidate_heads: `[columns, candidate_heads, head_dim]`, as many numbers a row.
        temperature: divisor of the cosines.
        labels: `[batch]`, 1 for a positive pair and 0 for one that only lends its candidate as a
            negative; by default all are positive.
        hidden: `[batch, columns]` bool: candidates that are no negatives of that query.
        positive_columns: `[batch]` int; by default row i has column i.

    Returns:
        `[batch]` losses, 0 where the label is. Their mean over the positive pairs is the term.

    Raises:
        ValueError: the heads of the two sides do not flatten to the same length.
    """
    queries, candidates = _flatten(query_heads), _flatten(candidate_heads)
    if queries.shape[1] != candidates.shape[1]:
        raise ValueError(
            f"heads are {query_heads.shape[1:]} of a query and {candidate_heads.shape[1:]} of a "
            "candidate; they must hold as many numbers, so give the heads of one query layer"
        )
    losses = in_batch_softmax(
        tf.matmul(queries, candidates, transpose_b=True),
        temperature=temperature,
        hidden=hidden,
        positive_columns=positive_columns,
    )
    return losses if labels is None else losses * tf.cast(labels, losses.dtype)


def _flatten(heads: tf.Tensor) -> tf.Tensor:
    flat = tf.reshape(heads, [-1, heads.shape[1] * heads.shape[2]])
    return tf.math.l2_normalize(flat, axis=1)
