"""Scores of every query with every candidate of a batch, in memory that does not grow with it."""

from collections.abc import Callable, Sequence

import tensorflow as tf

Parts = Sequence[tf.Tensor]


@tf.custom_gradient
def inner_products(
    queries: tf.Tensor, candidates: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]]:
    """Inner product of every query with every candidate.

    The gradient is that of `tf.matmul`, but what the candidates get is computed transposed: on a
    CPU that takes half the time.

    Args:
        queries: `[batch, dim]`.
        candidates: `[columns, dim]`.

    Returns:
        `[batch, columns]`.
    """

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_candidates = tf.transpose(tf.matmul(queries, upstream, transpose_a=True))
        return tf.matmul(upstream, candidates), of_candidates

    return tf.matmul(queries, candidates, transpose_b=True), gradient


def in_chunks(
    score: Callable[..., tf.Tensor],
    query_parts: Parts,
    others: Parts,
    *,
    num_columns: tf.Tensor,
    numbers_of_a_pair: int,
    most_numbers: int,
) -> tf.Tensor:
    """Scores some queries at a time; the gradient computes each chunk again.

    Args:
        score: scores `[rows, columns]` of `*query_parts, *others` for the rows of a chunk.
        query_parts: `[batch, ...]` tensors of the queries.
        others: tensors of the candidates, and weights.
        num_columns: number of candidates.
        numbers_of_a_pair: numbers that `score` holds for a pair.
        most_numbers: numbers that a chunk may hold; one query is scored in any case.

    Returns:
        `[batch, columns]`.
    """
    batch = tf.shape(query_parts[0])[0]
    rows = tf.maximum(1, most_numbers // tf.maximum(1, num_columns * numbers_of_a_pair))
    rows = tf.maximum(1, tf.minimum(batch, rows))
    num_chunks = tf.maximum(1, -(-batch // rows))
    more = num_chunks * rows - batch

    def chunked(part: tf.Tensor) -> tf.Tensor:
        padded = tf.pad(part, [[0, more], *[[0, 0]] * (part.shape.rank - 1)])
        return tf.reshape(padded, [num_chunks, rows, *part.shape[1:]])

    given = [tf.convert_to_tensor(other) for other in others]
    recomputed = _recomputed(score)
    scores = tf.map_fn(
        lambda chunk: recomputed(*chunk, *given),
        tuple(chunked(part) for part in query_parts),
        parallel_iterations=1,
        fn_output_signature=tf.TensorSpec([None, None], query_parts[0].dtype),
    )
    return tf.reshape(scores, [num_chunks * rows, num_columns])[:batch]


def _recomputed(score: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    @tf.custom_gradient
    def scored(*inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], list[tf.Tensor]]]:
        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                scores = score(*inputs)
            gradients: list[tf.Tensor] = tape.gradient(scores, inputs, upstream)
            return gradients

        return score(*inputs), gradient

    return scored
