"""SENet's squeeze and excitation over the fields of a tower, beside Light-SE for comparison."""

import tensorflow as tf

from tfrs_twotower.layers.initial import WeightMaker

_REDUCTION = 3


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
