"""Losses other than the in-batch softmax: losses of mined lists, regularisers of DAT, IntTower."""

import numpy as np
import tensorflow as tf

from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax, log_sum_exp
from tfrs_twotower.specs import UNKNOWN_ROW


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


def _log_probabilities(logits: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Log-softmax over the present entries; absent entries get arbitrary finite values."""
    filled = tf.where(present, logits, tf.zeros_like(logits))
    empty = tf.logical_not(tf.reduce_any(present, axis=1, keepdims=True))
    considered = tf.logical_or(present, empty)
    lowest = tf.constant(-np.inf, logits.dtype)
    total = log_sum_exp(tf.where(considered, filled, lowest))
    return filled - total[:, tf.newaxis]


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
    both_present = None
    if present is not None:
        surplus = tf.where(present, surplus, tf.zeros_like(surplus))
        both_present = tf.logical_and(present[:, :1], present[:, 1:])
    # (s_0 - s_j) - (t_0 - t_j) = (s_0 - t_0) - (s_j - t_j).
    return mean_of_present(tf.square(surplus[:, :1] - surplus[:, 1:]), both_present)


def mimic(augmented: tf.Tensor, other: tf.Tensor, *, labels: tf.Tensor | None = None) -> tf.Tensor:
    """Squared distance to the other tower's output, for positive pairs only.

    L_i = y_i ||a_i - sg(p_i)||^2, for y in {0, 1} equal to ||y a + (1 - y) sg(p) - sg(p)||^2 of
    Yu et al. (DLP-KDD 2021); sg stops the gradient. A query's vector imitates the embedding of its
    candidate, and a candidate's vector that of its query. With fixed towers the sum is smallest
    where the vector is the mean of the id's positives.

    Public code differs in two important ways: without sg, positives pull the towers towards the
    augmented vectors; and a sum over batch or dimensions makes the weight of the term depend on
    their size.

    Args:
        augmented: `[batch, dim]` augmented vectors, a in the equation.
        other: `[batch, dim]` embeddings of the other tower, p in the equation.
        labels: `[batch]` 1 for a positive pair, else 0, y in the equation; all pairs are positive
            by default.

    Returns:
        `[batch]`, summed over the dimension.
    """
    losses = tf.reduce_sum(tf.math.squared_difference(augmented, tf.stop_gradient(other)), axis=1)
    if labels is None:
        return losses
    return tf.cast(labels, losses.dtype) * losses


def category_alignment(
    embeddings: tf.Tensor,
    categories: tf.Tensor,
    rows: tf.Tensor,
    *,
    scale_by_dim: bool,
    stop_major_gradient: bool,
) -> tf.Tensor:
    """Squared distances between the covariance of the largest category and those of the others.

    L = sum_i ||C(S_major) - C(S_i)||_F^2 (Yu et al., DLP-KDD 2021), where S_major is the category
    with the most candidates; among equals, the one with the smallest id. The paper does not say
    how to count; here C divides by n - 1; a candidate counts once however often it
    is in the batch, because repeated popular candidates would shrink the covariance; categories
    with a single candidate are left out.

    With centred embeddings X and K = X X^T, <C_i, C_j> is the sum of K_ab^2 over a in i and b in
    j, divided by (n_i - 1)(n_j - 1). No `[dim, dim]` matrix is needed; memory is 4 n^2 bytes.

    Args:
        embeddings: `[n, dim]` of candidates.
        categories: `[n]` int; 0 (missing) and 1 (unknown) do not count as categories.
        rows: `[n]` int: row of each candidate; only its first occurrence counts.
        scale_by_dim: multiplies by dim, because covariances of unit vectors are O(1 / dim).
        stop_major_gradient: whether only the smaller categories get a gradient.

    Returns:
        A scalar; 0 if fewer than two categories remain.
    """
    embeddings, categories = _first_occurrences(embeddings, categories, rows)
    known = categories > UNKNOWN_ROW
    sizes = tf.reduce_sum(_same_category(categories, embeddings.dtype), axis=1)
    kept = known & (sizes > 1)
    embeddings = tf.boolean_mask(embeddings, kept)
    categories, sizes = tf.boolean_mask(categories, kept), tf.boolean_mask(sizes, kept)
    same_category = _same_category(categories, embeddings.dtype)
    centred = embeddings - tf.matmul(same_category / sizes[:, tf.newaxis], embeddings)
    is_largest = tf.equal(sizes, tf.reduce_max(sizes))
    major = tf.reduce_min(tf.where(is_largest, categories, categories.dtype.max))
    in_major = tf.equal(categories, major)
    if stop_major_gradient:
        centred = tf.where(in_major[:, tf.newaxis], tf.stop_gradient(centred), centred)
    products = tf.square(tf.matmul(centred, centred, transpose_b=True))
    products /= (sizes[:, tf.newaxis] - 1.0) * (sizes[tf.newaxis, :] - 1.0)
    major_mask = tf.cast(in_major, embeddings.dtype)
    minor_mask = 1.0 - major_mask
    num_minor = tf.reduce_sum(minor_mask / sizes)
    of_major = _bilinear(major_mask, products, major_mask)
    of_minor = _bilinear(minor_mask, products * same_category, minor_mask)
    loss = of_minor + num_minor * of_major - 2.0 * _bilinear(major_mask, products, minor_mask)
    if scale_by_dim:
        loss *= tf.cast(tf.shape(embeddings)[1], loss.dtype)
    return loss


def _first_occurrences(
    embeddings: tf.Tensor, categories: tf.Tensor, rows: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    distinct, position = tf.unique(rows)
    first = tf.math.unsorted_segment_min(tf.range(tf.size(rows)), position, tf.size(distinct))
    return tf.gather(embeddings, first), tf.gather(categories, first)


def _same_category(categories: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.cast(categories[:, tf.newaxis] == categories[tf.newaxis, :], dtype)


def _bilinear(left: tf.Tensor, matrix: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(left[:, tf.newaxis] * matrix * right[tf.newaxis, :])


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

    L_i = -y_i log(exp(u_i . v_i / t) / sum_j exp(u_i . v_j / t)), where u and v are the
    L2-normalised concatenations of a side's heads, as Li et al. (CIKM 2022) describe it. The
    formula of their early code differs and gives positive pairs no gradient at all.

    Args:
        query_heads: `[batch, query_heads, head_dim]` of the last layer.
        candidate_heads: `[columns, candidate_heads, head_dim]`, with the same number of values in
            each row.
        temperature: divisor of the cosines.
        labels: `[batch]`, 1 for a positive pair, 0 for a pair whose candidate is only a negative
            of other queries; all pairs are positive by default.
        hidden: `[batch, columns]` bool: mask of pairs that must not count as negatives.
        positive_columns: `[batch]` int; by default column i for row i.

    Returns:
        `[batch]` losses, 0 where the label is 0. Their mean over the positive pairs is the term.

    Raises:
        ValueError: the heads of the two sides do not flatten to the same length.
    """
    queries, candidates = _flatten(query_heads), _flatten(candidate_heads)
    if queries.shape[1] != candidates.shape[1]:
        raise ValueError(
            f"heads are {query_heads.shape[1:]} of a query and {candidate_heads.shape[1:]} of a "
            "candidate; both must hold the same number of values. Give the heads of one query layer"
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
