"""Field encoders: one vector for the tokens of a feature, from table rows or from a number."""

from typing import Protocol

import tensorflow as tf

from tfrs_twotower.layers import embedding_tables
from tfrs_twotower.layers.candidate_memory import CandidateContent, event_vectors
from tfrs_twotower.layers.seeded import TrainingDropout, WeightMaker


class FieldEncoder(Protocol):
    """Encodes one feature."""

    def __call__(self, tokens: tf.Tensor, dropout: TrainingDropout | None) -> tf.Tensor:
        """Field vectors `[batch, embedding_dim]`; zero where the value is missing.

        Args:
            tokens: the feature's tokens, as `TowerInputs` makes them.
            dropout: source of random masks in training; None outside training.
        """


class NumberField(tf.Module):
    """A learned direction, scaled by the number, and a learned vector for a missing number."""

    def __init__(self, weights: WeightMaker, dim: int, name: str) -> None:
        super().__init__(name=name)
        self._kernel = weights.normal("kernel", [2, dim], embedding_tables.SIDE_STDDEV)

    def __call__(self, tokens: tf.Tensor, dropout: TrainingDropout | None) -> tf.Tensor:
        """Returns vectors for tokens `[batch, 2]`: scaled value, missing indicator."""
        return tf.matmul(tokens, self._kernel)


class RowField(tf.Module):
    """The row of one value; `id_dropout` replaces some known ids by the unknown row in training."""

    def __init__(self, table: tf.Variable, name: str, *, id_dropout: float = 0.0) -> None:
        super().__init__(name=name)
        self._table = table
        self._id_dropout = id_dropout

    def __call__(self, tokens: tf.Tensor, dropout: TrainingDropout | None) -> tf.Tensor:
        """Returns the rows of tokens `[batch]`."""
        if dropout is not None and self._id_dropout:
            tokens = dropout.drop_ids(tokens, self._id_dropout)
        return embedding_tables.row_or_zero(self._table, tokens)


class SetField(tf.Module):
    """The mean of the rows of several values."""

    def __init__(self, table: tf.Variable, name: str) -> None:
        super().__init__(name=name)
        self._table = table

    def __call__(self, tokens: tf.Tensor, dropout: TrainingDropout | None) -> tf.Tensor:
        """Returns means over tokens `[batch, max_values]`."""
        return embedding_tables.mean_of_rows(self._table, tokens)[0]


class BucketField(tf.Module):
    """A learned vector for each bucket of a number, and one for a missing number."""

    def __init__(self, weights: WeightMaker, num_rows: int, dim: int, name: str) -> None:
        super().__init__(name=name)
        self._table = weights.normal("buckets", [num_rows, dim], embedding_tables.SIDE_STDDEV)

    def __call__(self, tokens: tf.Tensor, dropout: TrainingDropout | None) -> tf.Tensor:
        """Returns rows of tokens `[batch]`; row 0 is learned: a missing number is information."""
        return tf.gather(self._table, tokens)


class CalendarField(tf.Module):
    """The sum of one learned vector for each calendar part of a time."""

    def __init__(
        self, weights: WeightMaker, num_values: dict[str, int], dim: int, name: str
    ) -> None:
        super().__init__(name=name)
        self._tables = [
            weights.normal(part, [1 + count, dim], embedding_tables.SIDE_STDDEV, zero_rows=1)
            for part, count in num_values.items()
        ]

    def __call__(self, tokens: tf.Tensor, dropout: TrainingDropout | None) -> tf.Tensor:
        """Returns sums over tokens `[batch, num_parts]`; a missing time gives zero."""
        parts = tf.unstack(tokens, num=len(self._tables), axis=1)
        rows = [
            embedding_tables.row_or_zero(table, ids)
            for table, ids in zip(self._tables, parts, strict=True)
        ]
        return tf.add_n(rows)


class HistoryField(tf.Module):
    """The mean of vectors of a query's earlier candidates.

    The vector of a candidate is its row in the candidate tower's table and, with `content`, the
    sum of the candidate's other field vectors. With a half-life of h events, the event at position
    p (0 is the latest) has the weight 2^(-p / h). An empty history gets a learned vector.
    """

    def __init__(
        self,
        weights: WeightMaker,
        table: tf.Variable,
        dim: int,
        name: str,
        *,
        longest: int | None = None,
        history_dropout: float = 0.0,
        half_life: float | None = None,
        content: CandidateContent | None = None,
    ) -> None:
        super().__init__(name=name)
        self._table = table
        self.content = content
        self._longest = longest
        self._history_dropout = history_dropout
        self._half_life = half_life
        self._empty = weights.normal("empty", [dim], embedding_tables.MAIN_STDDEV)

    def __call__(self, tokens: tf.Tensor, dropout: TrainingDropout | None) -> tf.Tensor:
        """Returns means over the `longest` first tokens of `[batch, max_length]`.

        The most recent event comes first.
        """
        tokens = tokens[:, : self._longest]
        if dropout is not None and self._history_dropout:
            tokens = dropout.drop_entries(tokens, self._history_dropout)

        means, has_events = embedding_tables.mean_by_id(
            lambda ids: event_vectors(self._table, self.content, ids, dropout),
            self._table.shape[1],
            tokens,
            self._weights(tokens),
        )
        return tf.where(has_events[:, tf.newaxis], means, self._empty)

    def _weights(self, tokens: tf.Tensor) -> tf.Tensor | None:
        if self._half_life is None:
            return None
        age = tf.range(tf.shape(tokens)[1], dtype=tf.int32)
        weights = tf.pow(0.5, tf.cast(age, tf.float32) / self._half_life)
        return tf.broadcast_to(weights, tf.shape(tokens))
