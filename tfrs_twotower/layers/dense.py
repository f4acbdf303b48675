"""Dense layers of towers that concatenate their fields."""

import tensorflow as tf

from tfrs_twotower.layers.hiding import Hiding
from tfrs_twotower.layers.initial import WeightMaker
from tfrs_twotower.layers.residual import ACTIVATIONS

_GAIN = 2**0.5
_BIAS_STDDEV = 0.01


class DenseLayer(tf.Module):
    """`dropout(act(W x + b))`; W starts as in He et al. 2015, which keeps a relu's input size."""

    def __init__(
        self,
        weights: WeightMaker,
        input_dim: int,
        dim: int,
        activation: str,
        dropout: float,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self._activation = ACTIVATIONS[activation]
        self._dropout = dropout
        self._kernel = weights.normal("kernel", [input_dim, dim], _GAIN / input_dim**0.5)
        # Not zero: a row whose fields are all missing must still have a direction.
        self._bias = weights.normal("bias", [dim], _BIAS_STDDEV)

    def __call__(self, vectors: tf.Tensor, hiding: Hiding | None) -> tf.Tensor:
        """Maps `[batch, input_dim]` to `[batch, dim]`; `hiding` is None outside training."""
        vectors = self._activation(tf.matmul(vectors, self._kernel) + self._bias)
        if hiding is not None and self._dropout:
            vectors = hiding.dropout(vectors, self._dropout)
        return vectors
