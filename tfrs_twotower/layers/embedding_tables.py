"""Embedding tables that features and towers share, and the pooling of their rows."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from tfrs_twotower.layers.seeded import WeightMaker
from tfrs_twotower.specs import NUM_SPECIAL_ROWS

MAIN_STDDEV = 0.05
SIDE_STDDEV = 0.01


class TableShape(NamedTuple):
    """Number of rows of a table, and standard deviation of its initial values."""

    num_rows: int
    stddev: float


class TableSet(tf.Module):
    """Tables `[num_rows, embedding_dim]` by vocabulary name.

    Row 0 (padding) never enters a vector. Row 1 (unknown) starts at zero, so that an unseen id
    contributes nothing until `id_dropout` has trained the row.
    """

    def __init__(self, weights: WeightMaker, shapes: Mapping[str, TableShape], dim: int) -> None:
        super().__init__(name="tables")
        self._tables = {
            name: weights.normal(
                name, [shape.num_rows, dim], shape.stddev, zero_rows=NUM_SPECIAL_ROWS
            )
            for name, shape in sorted(shapes.items())
        }

    def __getitem__(self, vocabulary: str) -> tf.Variable:
        return self._tables[vocabulary]


def row_or_zero(table: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
    """Returns rows `[batch, dim]` of ids `[batch]`; id 0 (missing) gives zero and no gradient."""
    present = tf.cast(ids > 0, table.dtype)[:, tf.newaxis]
    return tf.gather(table, ids) * present


def mean_of_rows(
    table: tf.Variable, ids: tf.Tensor, weights: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Weighted mean of the rows of a table; see `mean_by_id`.

    Args:
        table: `[num_rows, dim]`.
        ids: `[batch, width]` int32.
        weights: `[batch, width]`, positive; all equal by default.
    """
    return mean_by_id(lambda rows: tf.gather(table, rows), table.shape[1], ids, weights)


def mean_by_id(
    vectors_of: Callable[[tf.Tensor], tf.Tensor],
    dim: int,
    ids: tf.Tensor,
    weights: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Weighted mean of the vectors whose ids a list holds; padding (id 0) has no weight.

    The vector of each id of a batch is made once and multiplied by a sparse matrix. The
    `[batch, width, dim]` tensor of all entries is therefore never built, and the gradient of a
    table that is gathered from is a `tf.IndexedSlices` without repeated indices.

    Args:
        vectors_of: vectors `[n, dim]` of n distinct ids.
        dim: dimension of the vectors.
        ids: `[batch, width]` int32.
        weights: `[batch, width]`, positive; all equal by default.

    Returns:
        Means `[batch, dim]`, zero for a list without entries, and boolean `[batch]`: whether the
        list has an entry.
    """
    present = ids > 0
    mass = tf.cast(present, tf.float32)
    if weights is not None:
        mass *= weights
    total = tf.reduce_sum(mass, axis=1, keepdims=True)
    share = tf.math.divide_no_nan(mass, total)
    entries = tf.where(present)
    rows, position = tf.unique(tf.gather_nd(ids, entries), out_idx=tf.int64)
    matrix = tf.SparseTensor(
        tf.stack([entries[:, 0], position], axis=1),
        tf.gather_nd(share, entries),
        tf.stack([tf.shape(ids, tf.int64)[0], tf.size(rows, tf.int64)]),
    )
    means = tf.sparse.sparse_dense_matmul(matrix, vectors_of(rows))
    return tf.ensure_shape(means, [None, dim]), tf.reduce_any(present, axis=1)


def mean_of_vectors(vectors: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Mean over the present entries; zero for a row without any.

    Args:
        vectors: `[batch, width, dim]`.
        present: `[batch, width]` boolean.
    """
    mass = tf.cast(present, vectors.dtype)
    total = tf.reduce_sum(mass, axis=1, keepdims=True)
    return tf.einsum("bw,bwd->bd", tf.math.divide_no_nan(mass, total), vectors)
