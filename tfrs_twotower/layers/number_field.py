"""Encoder of a scaled number."""

import tensorflow as tf

from tfrs_twotower.layers.hiding import Hiding
from tfrs_twotower.layers.initial import WeightMaker
from tfrs_twotower.layers.tables import SIDE_STDDEV


class NumberField(tf.Module):
    """A direction for the value, and a vector for a missing value."""

    def __init__(self, weights: WeightMaker, dim: int, name: str) -> None:
        super().__init__(name=name)
        self._kernel = weights.normal("kernel", [2, dim], SIDE_STDDEV)

    def __call__(self, tokens: tf.Tensor, hiding: Hiding | None) -> tf.Tensor:
        """Vectors of tokens `[batch, 2]`: scaled value, missing indicator."""
        return tf.matmul(tokens, self._kernel)
