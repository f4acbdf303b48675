"""Regularisers of towers: mimic and category alignment (DAT), contrast of heads (IntTower)."""

import tensorflow as tf

from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax

UNKNOWN_CATEGORY = 1


def mimic(augmented: tf.Tensor, other: tf.Tensor, *, labels: tf.Tensor | None = None) -> tf.Tensor:
    """Squared distance to the other tower's output, for positive pairs only.

    L_i = y_i ||a_i - sg(p_i)||^2, which is ||y a + (1 - y) sg(p) - sg(p)||^2 of Yu et al. (DLP-KDD
    2021) for y in {0, 1}; sg stops the gradient. A query's vector imitates its candidate's
    embedding and a candidate's vector its query's. For fixed towers the least of the sum is at the
    mean of the id's positives.

    Public code differs in two ways that matter: without sg positives pull the towers towards the
    augmented vectors, and a sum over batch or dimensions changes the term's weight with their size.

    Args:
        augmented: `[batch, dim]` a.
        other: `[batch, dim]` p, the other tower's embeddings.
        labels: `[batch]` y; by default all pairs are positive.

    Returns:
        `[batch]`, a sum over the dimension.
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
    """Sum over the smaller categories of the squared distance of covariances.

    L = sum_i ||C(S_major) - C(S_i)||_F^2 (Yu et al., DLP-KDD 2021), S_major being the category
    with most candidates (of several the one with the least id). What the paper leaves open:
    C divides by n - 1; a candidate counts once however often the batch holds it, or popular ones
    would shrink the covariance; categories with a single candidate are left out.

    With centred embeddings X and K = X X^T, <C_i, C_j> is the sum of K_ab^2 over a in i and b in
    j, divided by (n_i - 1)(n_j - 1). So no `[dim, dim]` matrix is made; memory is 4 n^2 bytes.

    Args:
        embeddings: `[n, dim]` of candidates.
        categories: `[n]` int; 0 (missing) and 1 (unknown) are no categories.
        rows: `[n]` int: which candidate it is; the first occurrence of each counts.
        scale_by_dim: multiplies by dim, as covariances of unit vectors are O(1 / dim).
        stop_major_gradient: only the smaller categories are moved.

    Returns:
        A scalar; 0 if fewer than two categories are left.
    """
    embeddings, categories = _first_occurrences(embeddings, categories, rows)
    known = categories > UNKNOWN_CATEGORY
    sizes = tf.reduce_sum(_same(categories, embeddings.dtype), axis=1)
    kept = known & (sizes > 1)
    embeddings = tf.boolean_mask(embeddings, kept)
    categories, sizes = tf.boolean_mask(categories, kept), tf.boolean_mask(sizes, kept)
    same = _same(categories, embeddings.dtype)
    centred = embeddings - tf.matmul(same / sizes[:, tf.newaxis], embeddings)
    is_largest = tf.equal(sizes, tf.reduce_max(sizes))
    major = tf.reduce_min(tf.where(is_largest, categories, categories.dtype.max))
    in_major = tf.equal(categories, major)
    if stop_major_gradient:
        centred = tf.where(in_major[:, tf.newaxis], tf.stop_gradient(centred), centred)
    products = tf.square(tf.matmul(centred, centred, transpose_b=True))
    products /= (sizes[:, tf.newaxis] - 1.0) * (sizes[tf.newaxis, :] - 1.0)
    ours = tf.cast(in_major, embeddings.dtype)
    theirs = 1.0 - ours
    num_minor = tf.reduce_sum(theirs / sizes)
    of_major = _form(ours, products, ours)
    of_minor = _form(theirs, products * same, theirs)
    loss = of_minor + num_minor * of_major - 2.0 * _form(ours, products, theirs)
    if scale_by_dim:
        loss *= tf.cast(tf.shape(embeddings)[1], loss.dtype)
    return loss


def _first_occurrences(
    embeddings: tf.Tensor, categories: tf.Tensor, rows: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    distinct, place = tf.unique(rows)
    first = tf.math.unsorted_segment_min(tf.range(tf.size(rows)), place, tf.size(distinct))
    return tf.gather(embeddings, first), tf.gather(categories, first)


def _same(categories: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    return tf.cast(categories[:, tf.newaxis] == categories[tf.newaxis, :], dtype)


def _form(left: tf.Tensor, matrix: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
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
