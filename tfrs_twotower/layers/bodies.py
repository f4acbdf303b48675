"""Bodies of IntTower: from gated fields to the outputs of its layers."""

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

from tfrs_twotower.config import IntTowerConfig
from tfrs_twotower.layers.dense import DenseLayer
from tfrs_twotower.layers.hiding import Hiding
from tfrs_twotower.layers.initial import WeightMaker
from tfrs_twotower.layers.residual import ResidualLayer

_BIAS_STDDEV = 0.01


class Body(Protocol):
    """Gated fields to the outputs of the layers, and the last of these to the embedding."""

    layer_dims: Sequence[int]
    """Widths of the layers' outputs."""

    def __call__(self, fields: tf.Tensor, hiding: Hiding | None) -> list[tf.Tensor]:
        """Outputs `[batch, layer_dim]` of the layers for fields `[batch, num_fields, dim]`."""

    def embed(self, last: tf.Tensor) -> tf.Tensor:
        """`[batch, embedding_dim]`, not yet normalised, of the last output."""


class ResidualBody(tf.Module):
    """The fields' sum plus a bias, and residual layers on it: a plain tower's body.

    The sum is the first output; the last is the embedding itself.
    """

    def __init__(self, weights: WeightMaker, config: IntTowerConfig) -> None:
        super().__init__(name="body")
        dim = config.embedding_dim
        self.layer_dims = (dim,) * (1 + config.num_residual_layers)
        # Not zero: a row whose fields are all missing must still have a direction.
        self._bias = weights.normal("bias", [dim], _BIAS_STDDEV)
        self._layers = [
            ResidualLayer(weights.under(name), dim, config.activation, config.dropout, name)
            for name in (f"residual_{number}" for number in range(config.num_residual_layers))
        ]

    def __call__(self, fields: tf.Tensor, hiding: Hiding | None) -> list[tf.Tensor]:
        """Outputs `[batch, dim]` of fields `[batch, num_fields, dim]`."""
        outputs = [tf.reduce_sum(fields, axis=1) + self._bias]
        for layer in self._layers:
            outputs.append(layer(outputs[-1], hiding))
        return outputs

    def embed(self, last: tf.Tensor) -> tf.Tensor:
        """The last output as it is."""
        return last


class DenseBody(tf.Module):
    """The fields' concatenation and dense layers; a linear map makes the embedding."""

    def __init__(self, weights: WeightMaker, config: IntTowerConfig, num_fields: int) -> None:
        super().__init__(name="body")
        self.layer_dims = config.hidden_dims
        input_dims = (num_fields * config.embedding_dim, *config.hidden_dims[:-1])
        self._layers = [
            DenseLayer(
                weights.under(f"dense_{number}"),
                input_dim,
                dim,
                config.activation,
                config.dropout,
                f"dense_{number}",
            )
            for number, (input_dim, dim) in enumerate(
                zip(input_dims, config.hidden_dims, strict=True)
            )
        ]
        last_dim = config.hidden_dims[-1]
        self._kernel = weights.normal(
            "embedding.kernel", [last_dim, config.embedding_dim], last_dim**-0.5
        )

    def __call__(self, fields: tf.Tensor, hiding: Hiding | None) -> list[tf.Tensor]:
        """Outputs `[batch, hidden_dim]` of fields `[batch, num_fields, dim]`."""
        num_fields, dim = fields.shape[1:]
        vectors = tf.reshape(fields, [-1, num_fields * dim])
        outputs = []
        for layer in self._layers:
            vectors = layer(vectors, hiding)
            outputs.append(vectors)
        return outputs

    def embed(self, last: tf.Tensor) -> tf.Tensor:
        """Maps the last output to `[batch, embedding_dim]`."""
        return tf.matmul(last, self._kernel)
