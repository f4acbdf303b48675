"""Gradients between the tape and the optimiser: summed over replicas, without repeats, clipped."""

from collections.abc import Sequence
from typing import TypeAlias

import tensorflow as tf

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
