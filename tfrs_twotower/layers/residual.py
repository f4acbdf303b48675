"""Residual layers of the plain tower."""

from collections.abc import Callable

import tensorflow as tf

from tfrs_twotower.layers.hiding import Hiding
from tfrs_twotower.layers.initial import WeightMaker

ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "tanh": tf.nn.tanh,
    "relu": tf.nn.relu,
    "gelu": tf.nn.gelu,
}
_GAIN = 0.5


class ResidualLayer(tf.Module):
    """`x + dropout(act(W x + b))`; W starts small, so that a new tower is close to the sum."""

    def __init__(
        self, weights: WeightMaker, dim: int, activation: str, dropout: float, name: str
    ) -> None:
        super().__init__(name=name)
        self._activation = ACTIVATIONS[activation]
        self._dropout = dropout
        self._kernel = weights.normal("kernel", [dim, dim], _GAIN / dim**0.5)
        self._bias = weights.constant("bias", [dim], 0.0)

    def __call__(self, vectors: tf.Tensor, hiding: Hiding | None) -> tf.Tensor:
        """Transforms `[batch, dim]`; `hiding` is None outside training."""
        change = self._activation(tf.matmul(vectors, self._kernel) + self._bias)
        if hiding is not None and self._dropout:
            change = hiding.dropout(change, self._dropout)
        return vectors + change
