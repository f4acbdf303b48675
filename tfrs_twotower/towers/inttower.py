"""IntTower's towers (Li et al., CIKM 2022): gated fields, a body, an embedding, and heads."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tfrs_twotower.config import IntTowerConfig
from tfrs_twotower.features.inputs import Tokens, TowerInputs
from tfrs_twotower.layers.bert import BertEncoder
from tfrs_twotower.layers.bodies import Body, DenseBody, ResidualBody
from tfrs_twotower.layers.encoder import FieldEncoder
from tfrs_twotower.layers.fe_block import HeadMaps
from tfrs_twotower.layers.hiding import Hiding
from tfrs_twotower.layers.initial import WeightMaker
from tfrs_twotower.layers.light_se import LightSE
from tfrs_twotower.layers.normalise import l2_normalise
from tfrs_twotower.layers.squeeze_excitation import SqueezeExcitation
from tfrs_twotower.towers.pair_scorer import PairScorer
from tfrs_twotower.towers.tower import Tower, TowerOutput, Towers


class IntTower(Tower):
    """Fields, gate, body; the retrieval head and the FE heads read the outputs of its layers.

    A query tower has heads of every participating layer, a candidate tower of its last. Where a
    side has a single field there is nothing to weigh, and no gate.
    """

    def __init__(
        self,
        inputs: TowerInputs,
        fields: Sequence[FieldEncoder],
        config: IntTowerConfig,
        weights: WeightMaker,
        name: str,
    ) -> None:
        """Builds a tower.

        Args:
            inputs: raw values to tokens.
            fields: an encoder for each of the inputs' features, in their order.
            config: the towers' section of the run config.
            weights: makes the tower's own weights.
            name: `query` or `candidate`.
        """
        super().__init__(name=name)
        self.inputs = inputs
        self.embedding_dim = config.embedding_dim
        self.fields = list(fields)
        self._hiding = Hiding(weights.seed, name)
        self._gate = _gate(config, weights.under("gate"), self.num_fields)
        self._body: Body = (
            ResidualBody(weights, config)
            if config.body == "residual"
            else DenseBody(weights, config, self.num_fields)
        )
        dims = self._body.layer_dims
        num_layers = len(dims) if config.interaction_layers == "all" else 1
        is_query = name == "query"
        self._num_participating = num_layers if is_query else 1
        self._head_maps = HeadMaps(
            weights.under("heads"),
            dims[-self._num_participating :],
            num_heads=config.num_query_heads if is_query else config.num_candidate_heads,
            head_dim=config.head_dim,
            num_summands=num_layers * config.num_query_heads,
        )

    def encode_fields(self, tokens: Tokens, training: bool = False) -> tf.Tensor:
        """Field vectors `[batch, num_fields, embedding_dim]`, before the gate."""
        hiding = self._hiding if training else None
        vectors = [
            field(tokens[feature.name], hiding)
            for feature, field in zip(self.inputs.features, self.fields, strict=True)
        ]
        return tf.stack(vectors, axis=1)

    def encode(self, tokens: Tokens, training: bool = False) -> TowerOutput:
        """The embedding, and heads `[batch, num_heads, head_dim]`, which are not normalised."""
        fields = self.encode_fields(tokens, training)
        if self._gate is not None:
            fields = self._gate(fields)
        layers = self._body(fields, self._hiding if training else None)
        return TowerOutput(
            l2_normalise(self._body.embed(layers[-1])),
            heads=self._head_maps(layers[-self._num_participating :]),
        )


class IntTowers(Towers):
    """Two IntTowers and the scorer of their heads."""

    def __init__(
        self,
        query: Tower,
        candidate: Tower,
        pretrained: Mapping[str, BertEncoder],
        scorer: PairScorer,
    ) -> None:
        """Joins two towers; `pretrained` are their BERT encoders by checkpoint."""
        super().__init__(query, candidate, pretrained)
        self.scorer = scorer


def _gate(
    config: IntTowerConfig, weights: WeightMaker, num_fields: int
) -> LightSE | SqueezeExcitation | None:
    if num_fields == 1 or config.field_gate == "none":
        return None
    if config.field_gate == "light_se":
        return LightSE(weights, num_fields)
    return SqueezeExcitation(weights, num_fields)
