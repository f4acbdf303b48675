"""The FE-Block of IntTower: the heads of both towers, and the score of their pairs.

A score is the sum over query heads of the largest inner product with a candidate head,
s = sum_r max_h <U_r, V_h> (Li et al., CIKM 2022). All query layers are compared with the same
candidate heads, so their heads are stacked to R = L * H_q and one matrix product scores them all.
Where several candidate heads share the largest product, the gradient is split evenly among them.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfrs_twotower.layers.seeded import WeightMaker

_TYPICAL_INPUT = 0.1
_COSINE_NOISE = 0.1
_MOST_PRODUCTS = 2**21


class HeadMaps(tf.Module):
    """One linear map, without a bias, from each participating layer to its heads.

    Cosine heads have unit length, and their maps start close to the identity: each head takes the
    next coordinates of its layer, and after the last coordinate the first follows again.
    """

    def __init__(
        self,
        weights: WeightMaker,
        input_dims: Sequence[int],
        *,
        num_heads: int,
        head_dim: int,
        num_summands: int,
        cosine: bool = False,
    ) -> None:
        """Makes the maps.

        Args:
            weights: makes their kernels.
            input_dims: widths of the participating layers.
            num_heads: heads of each layer.
            head_dim: dimension of a head.
            num_summands: heads of the query side, over all layers. Together with the dimension it
                scales the initial kernels so that the scores of new towers, whose vectors have
                entries of about 0.1, are of order 1.
            cosine: whether the heads are normalised.
        """
        super().__init__(name="heads")
        self._head_dim = head_dim
        self._cosine = cosine
        gain = _COSINE_NOISE if cosine else (num_summands * head_dim) ** -0.25 / _TYPICAL_INPUT
        self._kernels = [
            weights.normal(f"layer_{number}.kernel", [dim, num_heads * head_dim], gain / dim**0.5)
            for number, dim in enumerate(input_dims)
        ]
        if cosine:
            for kernel in self._kernels:
                dim, width = kernel.shape
                kernel.assign_add(tf.one_hot(tf.range(width) % dim, dim, axis=0))

    def __call__(self, layers: Sequence[tf.Tensor]) -> tf.Tensor:
        """Returns heads `[batch, num_layers * num_heads, head_dim]`, in the order of the layers.

        Args:
            layers: the participating layers, `[batch, input_dim]` each.
        """
        maps = zip(layers, self._kernels, strict=True)
        heads = tf.concat([tf.matmul(layer, kernel) for layer, kernel in maps], axis=1)
        heads = tf.reshape(heads, [-1, heads.shape[1] // self._head_dim, self._head_dim])
        return tf.math.l2_normalize(heads, axis=2) if self._cosine else heads


def interaction_scores(query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
    """Scores each query with its own list of candidates, from cached heads.

    Args:
        query_heads: `[batch, R, head_dim]`.
        candidate_heads: `[batch, n, H, head_dim]`.

    Returns:
        `[batch, n]`.
    """
    num_heads, dim = candidate_heads.shape[2:]
    batch, n, _, _ = tf.unstack(tf.shape(candidate_heads))
    flat = tf.reshape(candidate_heads, [batch, n * num_heads, dim])
    products = tf.matmul(flat, query_heads, transpose_b=True)
    # Query heads innermost, because a maximum over a short innermost axis runs far slower.
    products = tf.reshape(products, [batch, n, num_heads, query_heads.shape[1]])
    return tf.reduce_sum(tf.reduce_max(products, axis=2), axis=2)


def all_pairs(query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
    """Scores every query with every candidate.

    The queries are processed in chunks of 8 MB of products, and the gradient recomputes each
    chunk, so that memory does not grow with the batch. Chunks are also faster than one large
    product, because the products of a chunk stay in the processor's cache. With one candidate head
    there is nothing to choose from: the score is the inner product with the sum of the query heads.

    Args:
        query_heads: `[batch, R, head_dim]`.
        candidate_heads: `[columns, H, head_dim]`.

    Returns:
        `[batch, columns]`.
    """
    if candidate_heads.shape[1] == 1:
        pooled = tf.reduce_sum(query_heads, axis=1)
        return tf.matmul(pooled, candidate_heads[:, 0], transpose_b=True)
    num_query_heads, dim = query_heads.shape[1:]
    batch, columns = tf.shape(query_heads)[0], tf.shape(candidate_heads)[0]
    products_of_a_query = columns * num_query_heads * candidate_heads.shape[1]
    rows = tf.minimum(batch, _MOST_PRODUCTS // tf.maximum(1, products_of_a_query))
    rows = tf.maximum(1, rows)
    num_chunks = tf.maximum(1, -(-batch // rows))
    padded = tf.pad(query_heads, [[0, num_chunks * rows - batch], [0, 0], [0, 0]])
    scores = tf.map_fn(
        lambda chunk: _all_pairs_of_chunk(chunk, candidate_heads),
        tf.reshape(padded, [num_chunks, rows, num_query_heads, dim]),
        parallel_iterations=1,
        fn_output_signature=tf.TensorSpec([None, None], query_heads.dtype),
    )
    return tf.reshape(scores, [num_chunks * rows, columns])[:batch]


@tf.custom_gradient
def _all_pairs_of_chunk(
    query_heads: tf.Tensor, candidate_heads: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Equals the tape's gradient after `recompute_grad`, with fewer passes over the products.
        products, rows, columns = _products(query_heads, candidate_heads)
        largest = tf.reduce_max(products, axis=2, keepdims=True)
        chosen = tf.cast(products == largest, products.dtype)
        num_chosen = tf.reduce_sum(chosen, axis=2, keepdims=True)
        chosen *= upstream[:, tf.newaxis, tf.newaxis, :] / num_chosen
        chosen = tf.reshape(chosen, [-1, tf.shape(columns)[0]])
        of_columns = tf.matmul(chosen, rows, transpose_a=True)
        num_heads, dim = candidate_heads.shape[1:]
        of_columns = tf.transpose(tf.reshape(of_columns, [num_heads, -1, dim]), [1, 0, 2])
        return tf.reshape(tf.matmul(chosen, columns), tf.shape(query_heads)), of_columns

    products, _, _ = _products(query_heads, candidate_heads)
    return tf.reduce_sum(tf.reduce_max(products, axis=2), axis=1), gradient


def _products(
    query_heads: tf.Tensor, candidate_heads: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns products `[rows, R, H, columns]`, and the two matrices that were multiplied."""
    num_query_heads, dim = query_heads.shape[1:]
    num_heads = candidate_heads.shape[1]
    rows = tf.reshape(query_heads, [-1, dim])
    # Candidates innermost, because a maximum over a short innermost axis runs far slower.
    columns = tf.reshape(tf.transpose(candidate_heads, [1, 0, 2]), [-1, dim])
    products = tf.matmul(rows, columns, transpose_b=True)
    shape = [-1, num_query_heads, num_heads, tf.shape(candidate_heads)[0]]
    return tf.reshape(products, shape), rows, columns
