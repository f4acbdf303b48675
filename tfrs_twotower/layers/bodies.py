"""The layers between the fields of a tower and its embedding: gates, layers, bodies."""

from collections.abc import Callable, Sequence
from typing import Protocol

import tensorflow as tf

from tfrs_twotower.config import FieldsConfig, HeadsConfig
from tfrs_twotower.layers.seeded import TrainingDropout, WeightMaker

_MIN_SQUARED_NORM = 1e-12
ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "tanh": tf.nn.tanh,
    "relu": tf.nn.relu,
    "gelu": tf.nn.gelu,
}
BIAS_STDDEV = 0.01
_RESIDUAL_GAIN = 0.5
_DENSE_GAIN = 2**0.5
_REDUCTION_RATIO = 3


def l2_normalise(vectors: tf.Tensor) -> tf.Tensor:
    """Divides each row by its norm; rows shorter than 1e-6 are divided by 1e-6.

    A zero row stays zero. Its gradient would be scaled by a million, so towers avoid zero rows:
    the bias of their sum starts at small random values, not at zero.

    Args:
        vectors: `[batch, dim]`.
    """
    squared = tf.reduce_sum(tf.square(vectors), axis=-1, keepdims=True)
    return vectors * tf.math.rsqrt(tf.maximum(squared, _MIN_SQUARED_NORM))


class ResidualLayer(tf.Module):
    """`x + dropout(act(W x + b))`.

    W starts small, so that a new tower is close to the plain sum of its fields.
    """

    def __init__(
        self, weights: WeightMaker, dim: int, activation: str, dropout_rate: float, name: str
    ) -> None:
        super().__init__(name=name)
        self._activation = ACTIVATIONS[activation]
        self._dropout_rate = dropout_rate
        self._kernel = weights.normal("kernel", [dim, dim], _RESIDUAL_GAIN / dim**0.5)
        self._bias = weights.constant("bias", [dim], 0.0)

    def __call__(self, vectors: tf.Tensor, dropout: TrainingDropout | None) -> tf.Tensor:
        """Transforms `[batch, dim]`; `dropout` is None outside training."""
        change = self._activation(tf.matmul(vectors, self._kernel) + self._bias)
        if dropout is not None and self._dropout_rate:
            change = dropout.drop_activations(change, self._dropout_rate)
        return vectors + change


class DenseLayer(tf.Module):
    """`dropout(act(W x + b))`.

    W starts as in He et al. (2015), so that a relu's output is about as large as its input.
    """

    def __init__(
        self,
        weights: WeightMaker,
        input_dim: int,
        dim: int,
        activation: str,
        dropout_rate: float,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self._activation = ACTIVATIONS[activation]
        self._dropout_rate = dropout_rate
        self._kernel = weights.normal("kernel", [input_dim, dim], _DENSE_GAIN / input_dim**0.5)
        # Not zero, because a row whose fields are all missing must still have a direction.
        self._bias = weights.normal("bias", [dim], BIAS_STDDEV)

    def __call__(self, vectors: tf.Tensor, dropout: TrainingDropout | None) -> tf.Tensor:
        """Maps `[batch, input_dim]` to `[batch, dim]`; `dropout` is None outside training."""
        vectors = self._activation(tf.matmul(vectors, self._kernel) + self._bias)
        if dropout is not None and self._dropout_rate:
            vectors = dropout.drop_activations(vectors, self._dropout_rate)
        return vectors


class LightSE(tf.Module):
    """`(1 + A_f) x_f`, A = softmax(z W + c), z_f the mean of field f (IntTower, CIKM 2022).

    Fields compete: their weights sum to 1, and each field is scaled by a factor between 1 and 2. W
    and c start at zero, so that a new tower scales all fields alike, by 1 + 1 / num_fields. The
    softmax of a single field is always 1, so a tower with one field needs no gate.
    """

    def __init__(self, weights: WeightMaker, num_fields: int) -> None:
        super().__init__(name="light_se")
        self._kernel = weights.constant("kernel", [num_fields, num_fields], 0.0)
        self._bias = weights.constant("bias", [num_fields], 0.0)

    def weights_of(self, fields: tf.Tensor) -> tf.Tensor:
        """Returns A `[batch, num_fields]` for `[batch, num_fields, dim]`; each row sums to 1."""
        squeezed = tf.reduce_mean(fields, axis=2)
        return tf.nn.softmax(tf.matmul(squeezed, self._kernel) + self._bias)

    def __call__(self, fields: tf.Tensor) -> tf.Tensor:
        """Scales the fields `[batch, num_fields, dim]`."""
        return fields * (1.0 + self.weights_of(fields)[:, :, tf.newaxis])


class SqueezeExcitation(tf.Module):
    """`(1 + A_f) x_f`, A = relu(relu(z W_1) W_2), z_f the mean of field f (FiBiNET, RecSys 2019).

    The inner layer has num_fields / 3 units, at least one, and no layer has a bias. Fields do not
    compete, and all weights may be 0. FiBiNET multiplies by A alone, which can silence a whole
    row; the residual connection follows IntTower's released code.

    W_2 starts at positive constants. A column of negative values would give its field the weight 0
    permanently, because the inner units are never negative. One weakness of SENet remains: an inner
    unit that is negative for all rows receives no gradient until the fields have changed.
    """

    def __init__(self, weights: WeightMaker, num_fields: int) -> None:
        super().__init__(name="squeeze_excitation")
        units = max(1, num_fields // _REDUCTION_RATIO)
        self._inner = weights.normal("inner.kernel", [num_fields, units], num_fields**-0.5)
        self._outer = weights.constant("outer.kernel", [units, num_fields], 1.0 / units)

    def weights_of(self, fields: tf.Tensor) -> tf.Tensor:
        """Returns A `[batch, num_fields]`, >= 0, for fields `[batch, num_fields, dim]`."""
        squeezed = tf.reduce_mean(fields, axis=2)
        return tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(squeezed, self._inner)), self._outer))

    def __call__(self, fields: tf.Tensor) -> tf.Tensor:
        """Scales the fields `[batch, num_fields, dim]`."""
        return fields * (1.0 + self.weights_of(fields)[:, :, tf.newaxis])


class Body(Protocol):
    """Maps gated fields to the outputs of several layers, and the last output to the embedding."""

    layer_dims: Sequence[int]
    """Widths of the layers' outputs."""

    def __call__(self, fields: tf.Tensor, dropout: TrainingDropout | None) -> list[tf.Tensor]:
        """Returns each layer's output `[batch, layer_dim]` for `[batch, num_fields, dim]`."""

    def embed(self, last: tf.Tensor) -> tf.Tensor:
        """Maps the last output to `[batch, embedding_dim]`, not yet normalised."""


class ResidualBody(tf.Module):
    """The body of a plain tower: the sum of the fields plus a bias, then residual layers.

    The sum is the first output, and the last output is the embedding itself. Both towers may have
    the same body, because it does not depend on the number of fields.
    """

    def __init__(self, weights: WeightMaker, config: FieldsConfig) -> None:
        super().__init__(name="body")
        dim = config.embedding_dim
        self.layer_dims = (dim,) * (1 + config.num_residual_layers)
        # Not zero, because a row whose fields are all missing must still have a direction.
        self.bias = weights.normal("bias", [dim], BIAS_STDDEV)
        self._layers = [
            ResidualLayer(weights.under(name), dim, config.activation, config.dropout, name)
            for name in (f"residual_{number}" for number in range(config.num_residual_layers))
        ]

    def __call__(self, fields: tf.Tensor, dropout: TrainingDropout | None) -> list[tf.Tensor]:
        """Returns outputs `[batch, dim]` for fields `[batch, num_fields, dim]`."""
        return self.after(tf.reduce_sum(fields, axis=1) + self.bias, dropout)

    def after(self, first: tf.Tensor, dropout: TrainingDropout | None) -> list[tf.Tensor]:
        """Returns outputs `[batch, dim]` from the first one, which is given."""
        outputs = [first]
        for layer in self._layers:
            outputs.append(layer(outputs[-1], dropout))
        return outputs

    def embed(self, last: tf.Tensor) -> tf.Tensor:
        """Returns the last output unchanged."""
        return last


class DenseBody(tf.Module):
    """Concatenated fields, then dense layers; a linear map of the last makes the embedding."""

    def __init__(self, weights: WeightMaker, config: HeadsConfig, num_fields: int) -> None:
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

    def __call__(self, fields: tf.Tensor, dropout: TrainingDropout | None) -> list[tf.Tensor]:
        """Returns outputs `[batch, hidden_dim]` for fields `[batch, num_fields, dim]`."""
        num_fields, dim = fields.shape[1:]
        vectors = tf.reshape(fields, [-1, num_fields * dim])
        outputs = []
        for layer in self._layers:
            vectors = layer(vectors, dropout)
            outputs.append(vectors)
        return outputs

    def embed(self, last: tf.Tensor) -> tf.Tensor:
        """Maps the last output to `[batch, embedding_dim]`."""
        return tf.matmul(last, self._kernel)
