"""Light-SE: a softmax over the fields of a tower says how much each is strengthened."""

import tensorflow as tf

from tfrs_twotower.layers.initial import WeightMaker


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
