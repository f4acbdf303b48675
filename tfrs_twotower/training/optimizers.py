"""Gradients on their way to the optimiser, and the optimisers: AdamW with lazy rows, Adagrad."""

from collections.abc import Sequence
from typing import TypeAlias

import tensorflow as tf

from tfrs_twotower.config import OptimizerConfig
from tfrs_twotower.keras_api import keras
from tfrs_twotower.training.replicas import all_gather, num_replicas, sum_over_replicas

SPARSE_ROWS = 65_536
"""Tables with more rows than this get a sparse gradient and lazy updates. A smaller table's
gradient is made dense: one batch touches about as many rows, and a dense update is faster."""

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices


def settle(gradient: Gradient, variable: tf.Variable) -> Gradient:
    """Makes a gradient dense, or a set of distinct rows, and sums it over replicas.

    A table's gradient comes off the tape with one slice for each lookup. Its norm is only right
    after the slices of a row have been added up, which Keras does after clipping.

    Args:
        gradient: of one variable, on this replica.
        variable: whose first axis says whether it is a large table.

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
    rows, place = tf.unique(indices)
    total = tf.math.unsorted_segment_sum(values, place, tf.size(rows))
    return tf.IndexedSlices(total, rows, gradient.dense_shape)


def clip(
    gradients: Sequence[Gradient], clip_norm: float | None
) -> tuple[Sequence[Gradient], tf.Tensor]:
    """Scales all gradients together so that their global norm is at most `clip_norm`.

    Args:
        gradients: settled gradients.
        clip_norm: largest norm; None leaves them as they are.

    Returns:
        The gradients, and the norm they had.
    """
    norm = tf.linalg.global_norm(gradients)
    if clip_norm is None:
        return gradients, norm
    clipped, _ = tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)
    return clipped, norm


class RowAdamW(keras.optimizers.AdamW):
    """AdamW (Loshchilov and Hutter 2019) that moves only the rows a sparse gradient names.

    Keras's own AdamW decays the momenta of the whole table, and moves it, at every step: for a
    million rows that costs far more than the step. Here an untouched row keeps its weights and
    momenta. Dense gradients are Keras's business. Weight decay falls on matrices and tables (of a
    large table on the rows that are moved), never on vectors and scalars: biases, temperature.
    """

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Makes the slots, and notes which variables Keras must not decay."""
        excluded = [v for v in var_list if v.shape.rank < 2 or is_large_table(v)]
        if not getattr(self, "_built", False) and excluded:
            self.exclude_from_weight_decay(var_list=excluded)
        super().build(var_list)

    def _apply_weight_decay(self, variables: Sequence[tf.Variable]) -> None:
        if self.weight_decay:
            super()._apply_weight_decay(variables)

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Moves one variable.

        Args:
            gradient: dense, or slices with distinct indices.
            variable: the variable.
        """
        if not isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable)
            return
        rate = tf.cast(self.learning_rate, variable.dtype)
        count = tf.cast(self.iterations + 1, variable.dtype)
        place = self._index_dict[self._var_key(variable)]
        momentum, velocity = self._momentums[place], self._velocities[place]
        rows, values = gradient.indices, gradient.values
        new_momentum = self.beta_1 * tf.gather(momentum, rows) + (1.0 - self.beta_1) * values
        new_velocity = self.beta_2 * tf.gather(velocity, rows) + (1.0 - self.beta_2) * values**2
        scale = rate * tf.sqrt(1.0 - self.beta_2**count) / (1.0 - self.beta_1**count)
        old = tf.gather(variable, rows)
        moved = old * (1.0 - rate * self.weight_decay)
        moved -= scale * new_momentum / (tf.sqrt(new_velocity) + self.epsilon)
        momentum.scatter_update(tf.IndexedSlices(new_momentum, rows))
        velocity.scatter_update(tf.IndexedSlices(new_velocity, rows))
        variable.scatter_update(tf.IndexedSlices(moved, rows))


def is_large_table(variable: tf.Variable) -> bool:
    """Whether the variable is a table whose gradient stays sparse."""
    return variable.shape.rank >= 2 and variable.shape[0] > SPARSE_ROWS


def make_optimizer(config: OptimizerConfig) -> keras.optimizers.Optimizer:
    """The optimiser that the config names; its rate is set before every step."""
    if config.kind == "adagrad":
        return keras.optimizers.Adagrad(config.learning_rate, jit_compile=False)
    return RowAdamW(config.learning_rate, weight_decay=config.weight_decay, jit_compile=False)
