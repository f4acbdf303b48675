"""The plain tower: a sum of field vectors, residual layers, L2 normalisation."""

from collections.abc import Sequence

import tensorflow as tf

from tfrs_twotower.config import FieldsConfig
from tfrs_twotower.features.tower_inputs import Tokens, TowerInputs
from tfrs_twotower.layers import bodies, field_encoders, seeded
from tfrs_twotower.layers.history_transformer import field_tokens
from tfrs_twotower.layers.query_decoder import QuerySlotsField
from tfrs_twotower.towers.tower import Tower, TowerOutput


class PlainTower(Tower):
    """`l2_normalise(map(residual(bias + sum of field vectors)))`; only queries may have a map."""

    def __init__(
        self,
        inputs: TowerInputs,
        fields: Sequence[field_encoders.FieldEncoder],
        config: FieldsConfig,
        weights: seeded.WeightMaker,
        name: str,
        body: bodies.ResidualBody | None = None,
    ) -> None:
        """Builds a tower.

        Args:
            inputs: turns raw values into tokens.
            fields: one encoder for each feature of `inputs`, in the same order.
            config: the tower's section of the run config.
            weights: makes the tower's own weights.
            name: `query` or `candidate`.
            body: the layers after the fields, if the other tower has the same; by default its own.
        """
        super().__init__(name=name)
        self.inputs = inputs
        self.embedding_dim = config.embedding_dim
        self.fields = list(fields)
        self._dropout = seeded.TrainingDropout(weights.seed, name)
        self._body = body or bodies.ResidualBody(weights, config)
        self.make_map(weights, config)

    def encode_fields(self, tokens: Tokens, training: bool = False) -> tf.Tensor:
        """Returns field vectors `[batch, num_fields, embedding_dim]`, in the order of the spec."""
        return tf.stack(self._field_vectors(tokens, training)[0], axis=1)

    def encode(self, tokens: Tokens, training: bool = False) -> TowerOutput:
        """Returns an embedding `[batch, embedding_dim]` float32, L2-normalised, and query slots."""
        vectors, slots = self._sum_of_fields(tokens, training)
        return TowerOutput(self._finish(vectors, training), slots=slots)

    def _sum_of_fields(self, tokens: Tokens, training: bool) -> tuple[tf.Tensor, tf.Tensor | None]:
        vectors, slots = self._field_vectors(tokens, training)
        return tf.add_n(vectors) + self._body.bias, slots

    def _finish(self, vectors: tf.Tensor, training: bool) -> tf.Tensor:
        layers = self._body.after(vectors, self._dropout if training else None)
        return self.normalise(layers[-1])

    def _field_vectors(
        self, tokens: Tokens, training: bool
    ) -> tuple[list[tf.Tensor], tf.Tensor | None]:
        """The vector of each field, and the slots of the texts that have some (`TowerOutput`)."""
        dropout = self._dropout if training else None
        vectors, slots = [], []
        for feature, field in zip(self.inputs.features, self.fields, strict=True):
            own = field_tokens(tokens, feature.name)
            if isinstance(field, QuerySlotsField):
                vector, states = field.encode(own, dropout)
                slots.append(states)
            else:
                vector = field(own, dropout)
            vectors.append(vector)
        return vectors, tf.stack(slots, axis=1) if slots else None
