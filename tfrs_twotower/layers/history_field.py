"""Encoder of a history: mean of the candidate id's rows, or a learned vector for no event."""

import tensorflow as tf

from tfrs_twotower.layers.hiding import Hiding
from tfrs_twotower.layers.initial import WeightMaker
from tfrs_twotower.layers.pooling import mean_of_rows
from tfrs_twotower.layers.tables import MAIN_STDDEV


class HistoryField(tf.Module):
    """Pools the rows of a query's earlier candidates; the table is the candidate tower's.

    With a half-life of h events, the event at position p (0 is the latest) weighs 2^(-p / h).
    """

    def __init__(
        self,
        weights: WeightMaker,
        table: tf.Variable,
        dim: int,
        name: str,
        *,
        history_dropout: float = 0.0,
        half_life: float | None = None,
    ) -> None:
        super().__init__(name=name)
        self._table = table
        self._history_dropout = history_dropout
        self._half_life = half_life
        self._empty = weights.normal("empty", [dim], MAIN_STDDEV)

    def __call__(self, tokens: tf.Tensor, hiding: Hiding | None) -> tf.Tensor:
        """Means over tokens `[batch, max_length]`, most recent event first."""
        if hiding is not None and self._history_dropout:
            tokens = hiding.entries(tokens, self._history_dropout)
        means, has_events = mean_of_rows(self._table, tokens, self._weights(tokens))
        return tf.where(has_events[:, tf.newaxis], means, self._empty)

    def _weights(self, tokens: tf.Tensor) -> tf.Tensor | None:
        if self._half_life is None:
            return None
        age = tf.range(tf.shape(tokens)[1], dtype=tf.int32)
        weights = tf.pow(0.5, tf.cast(age, tf.float32) / self._half_life)
        return tf.broadcast_to(weights, tf.shape(tokens))
