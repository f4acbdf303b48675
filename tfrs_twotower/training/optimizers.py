"""Optimisers (AdamW with lazy rows, Adagrad), and what is done to gradients before them."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from tfrs_twotower.config import OptimizerConfig
from tfrs_twotower.keras_api import keras
from tfrs_twotower.training.replicas import all_gather, num_replicas, sum_over_replicas

SPARSE_ROWS = 65_536
"""Tables with more rows than this get sparse gradients and lazy updates. The gradient of a smaller
table is made dense: a batch touches about as many rows, and a dense update is faster."""

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices


def aggregate_gradient(gradient: Gradient, variable: tf.Variable) -> Gradient:
    """Adds up the slices of each row, then sums over replicas; a small table's result is dense.

    The tape gives the gradient of a table with one slice for each lookup. Its norm is only right
    after the slices of a row have been added up, which Keras does after clipping.

    Args:
        gradient: gradient of the variable on this replica.
        variable: the variable; the size of its first axis decides whether it is a large table.

    Returns:
        A dense tensor of the variable's shape, or slices with distinct indices.
    """
    if isinstance(gradient, tf.IndexedSlices):
        if variable.shape[0] <= SPARSE_ROWS:
            gradient = tf.math.unsorted_segment_sum(
                gradient.values, gradient.indices, variable.shape[0]
            )
        else:
            return _distinct_rows(gradient)
    return sum_over_replicas(gradient)


def _distinct_rows(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    values, indices = gradient.values, gradient.indices
    if num_replicas() > 1:
        values, indices = all_gather(values), all_gather(indices)
    rows, position = tf.unique(indices)
    total = tf.math.unsorted_segment_sum(values, position, tf.size(rows))
    return tf.IndexedSlices(total, rows, gradient.dense_shape)


def clip(
    gradients: Sequence[Gradient], clip_norm: float | None
) -> tuple[Sequence[Gradient], tf.Tensor]:
    """Scales all gradients together so that their global norm is at most `clip_norm`.

    Args:
        gradients: as `aggregate_gradient` returns them.
        clip_norm: largest norm; None does not clip.

    Returns:
        The gradients, and their norm before clipping.
    """
    norm = tf.linalg.global_norm(gradients)
    if clip_norm is None:
        return gradients, norm
    clipped, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
    return clipped, norm


def apply_gradients(
    gradients: Sequence[Gradient | None],
    variables: Sequence[tf.Variable],
    optimizer: Any,
    clip_norm: float | None,
) -> tf.Tensor:
    """Updates the variables by their gradients; those without one do not change.

    Returns:
        The global norm of the gradient before clipping; with several replicas, this one's share.
    """
    updates = [
        (aggregate_gradient(gradient, variable), variable)
        for gradient, variable in zip(gradients, variables, strict=True)
        if gradient is not None
    ]
    clipped, norm = clip([gradient for gradient, _ in updates], clip_norm)
    optimizer.apply_gradients(
        [(gradient, variable) for gradient, (_, variable) in zip(clipped, updates, strict=True)],
        skip_gradients_aggregation=True,
    )
    return norm / num_replicas()


class RowAdamW(keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter 2019) that updates only the rows of a sparse gradient.

    Keras's own AdamW decays the momenta of the whole table and updates all of it in every step,
    which for a million rows costs far more than the rest of the step. Here a row without a gradient
    keeps its weights and momenta. A dense update is one fused operation; Keras makes a dozen
    passes over weights and momenta, which took a fifth of a step. Weight decay applies to matrices
    and tables (in a large table, to the updated rows), never to vectors and scalars such as biases
    and the temperature.
    """

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Creates the slots, and excludes from Keras's weight decay what it must not decay."""
        excluded = [v for v in var_list if v.shape.rank < 2 or is_large_table(v)]
        if not getattr(self, "_built", False) and excluded:
            self.exclude_from_weight_decay(var_list=excluded)
        super().build(var_list)

    def _apply_weight_decay(self, variables: Sequence[tf.Variable]) -> None:
        if self.weight_decay:
            super()._apply_weight_decay(variables)

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Updates one variable.

        Args:
            gradient: dense, or slices with distinct indices.
            variable: the variable.
        """
        rate = tf.cast(self.learning_rate, variable.dtype)
        count = tf.cast(self.iterations + 1, variable.dtype)
        index = self._index_dict[self._var_key(variable)]
        momentum, velocity = self._momentums[index], self._velocities[index]
        if not isinstance(gradient, tf.IndexedSlices):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=momentum.handle,
                v=velocity.handle,
                beta1_power=self.beta_1**count,
                beta2_power=self.beta_2**count,
                lr=rate,
                beta1=self.beta_1,
                beta2=self.beta_2,
                epsilon=self.epsilon,
                grad=gradient,
            )
            return
        rows, values = gradient.indices, gradient.values
        new_momentum = self.beta_1 * tf.gather(momentum, rows) + (1.0 - self.beta_1) * values
        new_velocity = self.beta_2 * tf.gather(velocity, rows) + (1.0 - self.beta_2) * values**2
        scale = rate * tf.sqrt(1.0 - self.beta_2**count) / (1.0 - self.beta_1**count)
        old = tf.gather(variable, rows)
        new = old * (1.0 - rate * self.weight_decay)
        new -= scale * new_momentum / (tf.sqrt(new_velocity) + self.epsilon)
        momentum.scatter_update(tf.IndexedSlices(new_momentum, rows))
        velocity.scatter_update(tf.IndexedSlices(new_velocity, rows))
        variable.scatter_update(tf.IndexedSlices(new, rows))


def is_large_table(variable: tf.Variable) -> bool:
    """Returns whether the variable is a table whose gradient stays sparse."""
    return variable.shape.rank >= 2 and variable.shape[0] > SPARSE_ROWS


def make_optimizer(config: OptimizerConfig) -> keras.optimizers.Optimizer:
    """Builds the optimiser that the config names; its rate is set before every step."""
    if config.kind == "adagrad":
        return keras.optimizers.Adagrad(config.learning_rate, jit_compile=False)
    return RowAdamW(config.learning_rate, weight_decay=config.weight_decay, jit_compile=False)
