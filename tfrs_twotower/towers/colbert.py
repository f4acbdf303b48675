"""The towers of late interaction (ColBERT): plain towers with a head for each token of a text."""

from collections.abc import Sequence

import tensorflow as tf

from tfrs_twotower.config import ColbertConfig, ModelConfig
from tfrs_twotower.features.tower_inputs import Tokens, TowerInputs
from tfrs_twotower.layers import (
    bodies,
    fe_block,
    field_encoders,
    fixed_dimensional,
    late_interaction,
    seeded,
)
from tfrs_twotower.layers.text_encoders import TextField
from tfrs_twotower.towers import plain, texts
from tfrs_twotower.towers.tower import TowerOutput


class ColbertTower(plain.PlainTower):
    """A plain tower whose output has heads: its texts' tokens, as unit vectors of `head_dim`.

    Query tokens of a `bag` keep the weights that the bag has for them, so that rare words count
    more; the paper, whose tokens know their context, weights all alike, as other encoders do here.
    """

    def __init__(
        self,
        inputs: TowerInputs,
        fields: Sequence[field_encoders.FieldEncoder],
        config: ColbertConfig,
        weights: seeded.WeightMaker,
        name: str,
        buckets: fixed_dimensional.Buckets | None = None,
        *,
        body: bodies.ResidualBody | None = None,
        token_map: fe_block.HeadMaps | None = None,
    ) -> None:
        """Builds a tower; see `PlainTower`. With `buckets` its embedding encodes the tokens.

        `token_map` is the projection of the tokens, if the other tower has the same.
        """
        super().__init__(inputs, fields, config, weights, name, body)
        self.embedding_dim = config.vector_dim
        self.unit_length = buckets is None
        self._buckets = buckets
        self._texts = [
            (feature.name, field)
            for feature, field in zip(inputs.features, fields, strict=True)
            if isinstance(field, TextField)
        ]
        self._is_query = name == "query"
        self._most_tokens = (
            config.max_query_tokens if self._is_query else config.max_candidate_tokens
        )
        self._map = token_map or texts.token_map(config, weights)

    def encode(self, tokens: Tokens, training: bool = False) -> TowerOutput:
        """Returns the embedding, and heads `[batch, num_tokens, head_dim]`."""
        output = super().encode(tokens, training)
        dropout = self._dropout if training else None
        found = late_interaction.joined(
            [text.token_vectors(tokens[name], dropout) for name, text in self._texts],
            self._most_tokens,
        )
        width, dim = found.vectors.shape[1:]
        mapped = self._map([tf.reshape(found.vectors, [-1, dim])])
        unit = found._replace(vectors=tf.reshape(mapped, [-1, width, mapped.shape[2]]))
        if self._is_query:
            output = output._replace(heads=late_interaction.query_heads(unit))
        else:
            output = output._replace(heads=late_interaction.candidate_heads(unit))
        if self._buckets is None:
            return output
        encode = self._buckets.query if self._is_query else self._buckets.candidate
        return output._replace(embedding=encode(unit))


def buckets_of(
    config: ModelConfig, weights: seeded.WeightMaker
) -> fixed_dimensional.Buckets | None:
    """The buckets that both towers share; None if their embeddings do not encode tokens."""
    if not isinstance(config, ColbertConfig) or config.muvera is None:
        return None
    return fixed_dimensional.Buckets(
        weights, config.head_dim, config.muvera.repetitions, config.muvera.bits
    )
