"""Encoders of fields that are rows of a table: ids, categories, buckets, calendar parts."""

import tensorflow as tf

from tfrs_twotower.layers.hiding import Hiding
from tfrs_twotower.layers.initial import WeightMaker
from tfrs_twotower.layers.pooling import mean_of_rows
from tfrs_twotower.layers.tables import SIDE_STDDEV, row_or_zero


class RowField(tf.Module):
    """The row of one value; with `id_dropout`, training sometimes shows the unknown row."""

    def __init__(self, table: tf.Variable, name: str, *, id_dropout: float = 0.0) -> None:
        super().__init__(name=name)
        self._table = table
        self._id_dropout = id_dropout

    def __call__(self, tokens: tf.Tensor, hiding: Hiding | None) -> tf.Tensor:
        """Rows of tokens `[batch]`."""
        if hiding is not None and self._id_dropout:
            tokens = hiding.ids(tokens, self._id_dropout)
        return row_or_zero(self._table, tokens)


class SetField(tf.Module):
    """Mean of the rows of several values."""

    def __init__(self, table: tf.Variable, name: str) -> None:
        super().__init__(name=name)
        self._table = table

    def __call__(self, tokens: tf.Tensor, hiding: Hiding | None) -> tf.Tensor:
        """Means over tokens `[batch, max_values]`."""
        return mean_of_rows(self._table, tokens)[0]


class BucketField(tf.Module):
    """A vector for each bucket of a number, and one for a missing number."""

    def __init__(self, weights: WeightMaker, num_rows: int, dim: int, name: str) -> None:
        super().__init__(name=name)
        self._table = weights.normal("buckets", [num_rows, dim], SIDE_STDDEV)

    def __call__(self, tokens: tf.Tensor, hiding: Hiding | None) -> tf.Tensor:
        """Rows of tokens `[batch]`; row 0 is learned, as a missing number is information."""
        return tf.gather(self._table, tokens)


class CalendarField(tf.Module):
    """Sum of a vector for each calendar part of a time."""

    def __init__(
        self, weights: WeightMaker, num_values: dict[str, int], dim: int, name: str
    ) -> None:
        super().__init__(name=name)
        self._tables = [
            weights.normal(part, [1 + count, dim], SIDE_STDDEV, zero_rows=1)
            for part, count in num_values.items()
        ]

    def __call__(self, tokens: tf.Tensor, hiding: Hiding | None) -> tf.Tensor:
        """Sums over tokens `[batch, num_parts]`; a missing time gives zero."""
        parts = tf.unstack(tokens, num=len(self._tables), axis=1)
        rows = [row_or_zero(table, ids) for table, ids in zip(self._tables, parts, strict=True)]
        return tf.add_n(rows)
