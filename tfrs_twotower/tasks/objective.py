"""The objective: a weighted sum of named terms, each a mean over the weighted rows of a batch."""

from collections.abc import Mapping

import tensorflow as tf


class Objective:
    """Adds up terms; a term of weight 0 is absent.

    Means, never sums: otherwise the weights between terms would change with the batch size.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        """Names the terms.

        Args:
            weights: weight of each term, >= 0.

        Raises:
            ValueError: a weight is negative, or all are 0.
        """
        negative = [name for name, weight in weights.items() if not weight >= 0.0]
        if negative or not any(weights.values()):
            raise ValueError(
                f"term weights are {dict(weights)}; none may be negative, and one must be above 0"
            )
        self.weights = {name: weight for name, weight in weights.items() if weight > 0.0}

    def __call__(
        self,
        losses: Mapping[str, tf.Tensor],
        sample_weight: tf.Tensor | None = None,
        *,
        total_weight: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Weighted sum of the terms' means, sum_i w_i L_i / sum_i w_i.

        Args:
            losses: `[batch]` for each term, by name.
            sample_weight: `[batch]` >= 0; by default 1. If all are 0 the mean is 0.
            total_weight: divisor of the means; by default the sum of `sample_weight`. A replica
                gives the sum over all replicas here, and its result is then its share of the mean.

        Returns:
            The objective, and each term's mean by its own name (before its weight).

        Raises:
            ValueError: the losses are not exactly the terms of the objective.
        """
        if set(losses) != set(self.weights):
            raise ValueError(
                f"losses are given for {sorted(losses)}; the objective has {sorted(self.weights)}"
            )
        means = {
            name: weighted_mean(loss, sample_weight, total_weight=total_weight)
            for name, loss in losses.items()
        }
        return tf.add_n([self.weights[name] * mean for name, mean in means.items()]), means


def weighted_mean(
    losses: tf.Tensor,
    sample_weight: tf.Tensor | None = None,
    *,
    total_weight: tf.Tensor | None = None,
) -> tf.Tensor:
    """sum_i w_i L_i / sum_i w_i, 0 where all weights are 0.

    Args:
        losses: `[batch]`.
        sample_weight: `[batch]`; by default 1.
        total_weight: divisor instead of the sum of the weights.

    Returns:
        A scalar.
    """
    if sample_weight is None:
        sample_weight = tf.ones_like(losses)
    sample_weight = tf.cast(sample_weight, losses.dtype)
    if total_weight is None:
        total_weight = tf.reduce_sum(sample_weight)
    # A row of weight 0 is absent even if its loss is not a number.
    weighted = tf.math.multiply_no_nan(losses, sample_weight)
    return tf.math.divide_no_nan(tf.reduce_sum(weighted), tf.cast(total_weight, losses.dtype))
