"""The scorer of a network over heads (after COLD: Wang et al., DLP-KDD 2020)."""

from typing import ClassVar

import tensorflow as tf

from tfrs_twotower.config import ColdConfig
from tfrs_twotower.layers import pair_network, seeded
from tfrs_twotower.towers.tower import PairScorer


class ColdScorer(PairScorer):
    """`exp(a) s + b` for the network's score s of a query's and a candidate's heads."""

    sums_maxima: ClassVar[bool] = False

    def __init__(self, weights: seeded.WeightMaker, config: ColdConfig) -> None:
        """Makes the network; see `PairScorer`."""
        super().__init__(weights)
        num_query_heads = config.num_query_layers * config.num_query_heads
        self._network = pair_network.PairNetwork(
            weights.under("network"),
            (num_query_heads, config.head_dim),
            config.num_candidate_heads,
            config.cross_dims,
        )

    def of_lists(self, query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
        """See `PairScorer`."""
        return pair_network.listed_scores(query_heads, candidate_heads, self._network.weights)

    def of_all_pairs(self, query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
        """See `PairScorer`."""
        return pair_network.all_scores(query_heads, candidate_heads, self._network.weights)
