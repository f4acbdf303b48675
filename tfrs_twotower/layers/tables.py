"""Embedding tables: one for each vocabulary, shared by features and towers."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from tfrs_twotower.layers.initial import WeightMaker

MAIN_STDDEV = 0.05
SIDE_STDDEV = 0.01
NUM_ZERO_ROWS = 2


class TableShape(NamedTuple):
    """Size of a table, and the deviation of its initial values."""

    num_rows: int
    stddev: float


class TableSet(tf.Module):
    """Tables `[num_rows, embedding_dim]` by vocabulary name.

    Row 0 (padding) never reaches a vector. Row 1 (unknown) starts at zero, so that an id that was
    not seen says nothing until `id_dropout` has trained the row.
    """

    def __init__(self, weights: WeightMaker, shapes: Mapping[str, TableShape], dim: int) -> None:
        super().__init__(name="tables")
        self._tables = {
            name: weights.normal(name, [shape.num_rows, dim], shape.stddev, zero_rows=NUM_ZERO_ROWS)
            for name, shape in sorted(shapes.items())
        }

    def __getitem__(self, vocabulary: str) -> tf.Variable:
        return self._tables[vocabulary]


def row_or_zero(table: tf.Variable, ids: tf.Tensor) -> tf.Tensor:
    """Rows `[batch, dim]` of ids `[batch]`; id 0 (missing) gives zero and no gradient."""
    present = tf.cast(ids > 0, table.dtype)[:, tf.newaxis]
    return tf.gather(table, ids) * present
