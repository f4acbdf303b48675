"""Category alignment of DAT: the categories of a batch get covariances like the largest one's."""

import tensorflow as tf

UNKNOWN_CATEGORY = 1


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
