"""The towers of a mixture of logits (Zhai et al., KDD 2023): those of an IntTower, with gates."""

from collections.abc import Sequence
from typing import ClassVar

import tensorflow as tf

from tfrs_twotower.config import MolConfig
from tfrs_twotower.features.tower_inputs import TowerInputs
from tfrs_twotower.layers import bodies, field_encoders, mixture_of_logits, seeded
from tfrs_twotower.towers import inttower
from tfrs_twotower.towers.tower import PairScorer


class MolTower(inttower.IntTower):
    """An IntTower whose heads have unit length and are followed by rows of its share of the gates.

    `heads` of its output is `[batch, num_heads + gate rows, head_dim]`.
    """

    def __init__(
        self,
        inputs: TowerInputs,
        fields: Sequence[field_encoders.FieldEncoder],
        config: MolConfig,
        weights: seeded.WeightMaker,
        name: str,
        body: bodies.Body | None = None,
    ) -> None:
        """Builds a tower; see `IntTower`."""
        super().__init__(inputs, fields, config, weights, name, cosine_heads=True, body=body)
        self._gate_network = mixture_of_logits.GateNetwork(
            weights.under("mixture"), self.last_dim, config.gate_dim, config.num_pairs
        )

    def heads_of(self, layers: Sequence[tf.Tensor]) -> tf.Tensor:
        """Heads and gates; the gates are made from the direction of the last layer."""
        gates = self._gate_network(bodies.l2_normalise(layers[-1]))
        return mixture_of_logits.with_gates(super().heads_of(layers), gates)


class MolScorer(PairScorer):
    """`exp(a) phi + b` for the mixture phi of a query's and a candidate's heads."""

    sums_maxima: ClassVar[bool] = False

    def __init__(self, weights: seeded.WeightMaker, config: MolConfig) -> None:
        """Makes the network that weighs products by themselves; see `PairScorer`."""
        super().__init__(weights)
        self._num_query_heads = config.num_query_layers * config.num_query_heads
        self._num_candidate_heads = config.num_candidate_heads
        self._num_pairs = config.num_pairs
        self._network = mixture_of_logits.GateNetwork(
            weights.under("mixture"), config.num_pairs, config.gate_dim, config.num_pairs
        )

    def of_lists(self, query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
        """See `PairScorer`."""
        return mixture_of_logits.listed_mixtures(
            self._query(query_heads), self._candidates(candidate_heads), self._network.weights
        )

    def of_all_pairs(self, query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
        """See `PairScorer`."""
        return mixture_of_logits.all_mixtures(
            self._query(query_heads), self._candidates(candidate_heads), self._network.weights
        )

    def _query(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return mixture_of_logits.without_gates(rows, self._num_query_heads, self._num_pairs)

    def _candidates(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return mixture_of_logits.without_gates(rows, self._num_candidate_heads, self._num_pairs)
