"""What stands between the fields of a tower and its embedding: gates, layers, bodies."""

from collections.abc import Callable, Sequence
from typing import Protocol

import tensorflow as tf

from tfrs_twotower.config import IntTowerConfig
from tfrs_twotower.layers.hiding import Hiding
from tfrs_twotower.layers.initial import WeightMaker

_LEAST_SQUARED_NORM = 1e-12
ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "tanh": tf.nn.tanh,
    "relu": tf.nn.relu,
    "gelu": tf.nn.gelu,
}
_GAIN = 0.5
_DENSE_GAIN = 2**0.5
_BIAS_STDDEV = 0.01
_REDUCTION = 3


def l2_normalise(vectors: tf.Tensor) -> tf.Tensor:
    """Divides each row by its norm; rows shorter than 1e-6 are divided by 1e-6.

    A zero row stays zero. The gradient there would be scaled by a million, so towers keep away
    from it: the bias of their sum starts at small random values, not at zero.

    Args:
        vectors: `[batch, dim]`.
    """
    squared = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    return vectors * tf.math.rsqrt(tf.maximum(squared, _LEAST_SQUARED_NORM))


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
        self._kernel = weights.normal("kernel", [input_dim, dim], _DENSE_GAIN / input_dim**0.5)
        # Not zero: a row whose fields are all missing must still have a direction.
        self._bias = weights.normal("bias", [dim], _BIAS_STDDEV)

    def __call__(self, vectors: tf.Tensor, hiding: Hiding | None) -> tf.Tensor:
        """Maps `[batch, input_dim]` to `[batch, dim]`; `hiding` is None outside training."""
        vectors = self._activation(tf.matmul(vectors, self._kernel) + self._bias)
        if hiding is not None and self._dropout:
            vectors = hiding.dropout(vectors, self._dropout)
        return vectors


class LightSE(tf.Module):
    """`(1 + A_f) x_f`, A = softmax(z W + c), z_f the mean of field f (IntTower, CIKM 2022).

    Fields compete: their weights sum to 1, and a field is scaled by a factor between 1 and 2. W
    and c start at zero, so that a new tower weighs all fields alike, by 1 + 1 / num_fields. The
    softmax of a single field is 1: a tower with one field needs no gate.
    """

    def __init__(self, weights: WeightMaker, num_fields: int) -> None:
        super().__init__(name="light_se")
        self._kernel = weights.constant("kernel", [num_fields, num_fields], 0.0)
        self._bias = weights.constant("bias", [num_fields], 0.0)

    def weights_of(self, fields: tf.Tensor) -> tf.Tensor:
        """A, `[batch, num_fields]`, of fields `[batch, num_fields, dim]`; rows sum to 1."""
        squeezed = tf.reduce_mean(fields, axis=2)
        return tf.nn.softmax(tf.matmul(squeezed, self._kernel) + self._bias)

    def __call__(self, fields: tf.Tensor) -> tf.Tensor:
        """Scales the fields `[batch, num_fields, dim]`."""
        return fields * (1.0 + self.weights_of(fields)[:, :, tf.newaxis])


class SqueezeExcitation(tf.Module):
    """`(1 + A_f) x_f`, A = relu(relu(z W_1) W_2), z_f the mean of field f (FiBiNET, RecSys 2019).

    The inner layer has num_fields / 3 units, at least one; there are no biases. Fields do not
    compete, and all weights may be 0. FiBiNET multiplies by A alone, which can silence a whole
    row; the residual connection is that of IntTower's released code.

    W_2 starts at positive constants: a column of negative ones would give its field the weight 0
    for good, as what it is multiplied with is never negative. What remains is SENet's own: an inner
    unit that is negative for all rows has no gradient until the fields have moved.
    """

    def __init__(self, weights: WeightMaker, num_fields: int) -> None:
        super().__init__(name="squeeze_excitation")
        units = max(1, num_fields // _REDUCTION)
        self._inner = weights.normal("inner.kernel", [num_fields, units], num_fields**-0.5)
        self._outer = weights.constant("outer.kernel", [units, num_fields], 1.0 / units)

    def weights_of(self, fields: tf.Tensor) -> tf.Tensor:
        """A, `[batch, num_fields]`, >= 0, of fields `[batch, num_fields, dim]`."""
        squeezed = tf.reduce_mean(fields, axis=2)
        return tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(squeezed, self._inner)), self._outer))

    def __call__(self, fields: tf.Tensor) -> tf.Tensor:
        """Scales the fields `[batch, num_fields, dim]`."""
        return fields * (1.0 + self.weights_of(fields)[:, :, tf.newaxis])


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
