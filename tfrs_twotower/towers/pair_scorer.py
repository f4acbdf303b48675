"""What stands between the FE-Block and a probability: a learned scale and bias."""

import math

import tensorflow as tf

from tfrs_twotower.layers.fe_block import all_pairs, interaction_scores
from tfrs_twotower.layers.initial import WeightMaker


class PairScorer(tf.Module):
    """`exp(a) s + b`, s the FE score of a query's and a candidate's heads.

    Training and serving score with the same object: in-batch pairs and listed candidates differ
    only in who meets whom. The scale is above 0, so that the order is that of s. The bias starts
    at 0; a softmax over candidates does not see the bias, a sigmoid does.
    """

    def __init__(self, weights: WeightMaker) -> None:
        """Makes the two weights; the scale starts at 1."""
        super().__init__(name="scorer")
        self._log_scale = weights.constant("log_scale", [], 0.0)
        self._bias = weights.constant("bias", [], 0.0)

    def start_at(self, scale: float) -> None:
        """Sets the scale: of cosines it is the inverse of a temperature."""
        self._log_scale.assign(math.log(scale))

    @property
    def scale(self) -> float:
        """exp(a)."""
        return math.exp(float(self._log_scale))

    @property
    def bias(self) -> float:
        """B."""
        return float(self._bias)

    def __call__(self, query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
        """Scores listed candidates.

        Args:
            query_heads: `[batch, num_heads, head_dim]`.
            candidate_heads: `[batch, n, num_candidate_heads, head_dim]`.

        Returns:
            `[batch, n]`.
        """
        return self._calibrate(interaction_scores(query_heads, candidate_heads))

    def all_pairs(self, query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
        """Scores every query with every candidate.

        Args:
            query_heads: `[batch, num_heads, head_dim]`.
            candidate_heads: `[columns, num_candidate_heads, head_dim]`.

        Returns:
            `[batch, columns]`.
        """
        return self._calibrate(all_pairs(query_heads, candidate_heads))

    def _calibrate(self, scores: tf.Tensor) -> tf.Tensor:
        return tf.exp(self._log_scale) * scores + self._bias
