"""Query slots: a candidate's text predicts what it may be asked, and reads its own prediction.

The method is that of Duan, Xie and Du (Electronics 14(9), 2025); the I3 retriever (Dong et al.,
CIKM 2023) is its nearest relative with code. With the token vectors E of a text and learned slots
S,

    H = decoder(S; E),    Z = E + attention(norm(E); H),    vector = mean over tokens of Z.

Slot n learns to predict token n of the text's query (`losses.query_reconstruction`), all slots at
once. The query itself is no input here, so that a vector is a function of its candidate alone, in
training as later: a decoder that is fed the true query while it trains would pass it on to the
vector, and the softmax would learn to copy.

The paper's equations are not public. Layers normalise before they attend, as all transformers of
this package do, so that an interaction of zeros leaves E as it is; a feed-forward layer behind Z is
left out, because a tower's own layers follow.
"""

import tensorflow as tf

from tfrs_twotower.config import QuerySlotsConfig, TransformerConfig
from tfrs_twotower.layers import embedding_tables, late_interaction, seeded, transformer
from tfrs_twotower.layers.text_encoders import TextField


class CrossLayer(tf.Module):
    """`x + attention(norm(x); source)`: the early interaction, and the reading of a decoder."""

    def __init__(self, weights: seeded.WeightMaker, dim: int, num_heads: int, name: str) -> None:
        super().__init__(name=name)
        self._norm = transformer.LayerNorm(weights.under("norm"), dim)
        self._attention = transformer.Attention(weights.under("attention"), dim, num_heads)

    def __call__(self, vectors: tf.Tensor, source: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Transforms `[batch, width, dim]`.

        Args:
            vectors: `[batch, width, dim]`.
            source: `[batch, source_width, dim]`, which they read.
            present: `[batch, source_width]` boolean: which entries of it are there.
        """
        return vectors + self._attention(self._norm(vectors), present, source=source)


class QueryDecoder(tf.Module):
    """Decodes the slots of a text, not one after the other but all at once.

    In each layer the slots read the text, then each other, then pass a feed-forward layer.
    """

    def __init__(
        self,
        weights: seeded.WeightMaker,
        dim: int,
        config: TransformerConfig,
        slots: QuerySlotsConfig,
    ) -> None:
        super().__init__(name="query_decoder")
        self._slots = weights.normal("slots", [slots.num_slots, dim], embedding_tables.MAIN_STDDEV)
        self._readings = [
            CrossLayer(weights.under(name), dim, config.num_heads, name)
            for name in (f"reading_{number}" for number in range(slots.num_layers))
        ]
        layers = config.model_copy(update={"num_layers": slots.num_layers})
        self._layers = transformer.pre_norm_layers(weights, dim, layers)
        self._norm = transformer.LayerNorm(weights.under("norm"), dim)

    def __call__(self, tokens: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Returns the states of the slots, `[batch, num_slots, dim]`.

        Args:
            tokens: vectors `[batch, width, dim]` of a text's tokens.
            present: `[batch, width]` boolean: which tokens are there.
        """
        states = tf.repeat(self._slots[tf.newaxis], tf.shape(tokens)[0], axis=0)
        everywhere = tf.ones(tf.shape(states)[:2], tf.bool)
        for reading, layer in zip(self._readings, self._layers, strict=True):
            states = layer(reading(states, tokens, present), everywhere)
        return self._norm(states)


class QuerySlotsField(TextField):
    """A text of candidates whose tokens read its query slots before they are pooled."""

    def __init__(
        self,
        weights: seeded.WeightMaker,
        text: TextField,
        dim: int,
        config: TransformerConfig,
        slots: QuerySlotsConfig,
        name: str,
    ) -> None:
        """Adds slots to a text.

        Args:
            weights: makes the weights of decoder and interaction.
            text: the encoder of the text, which gives a vector for each token.
            dim: dimension of these vectors.
            config: heads and widths of decoder and interaction.
            slots: number of slots and of the decoder's layers.
            name: name of the feature.
        """
        super().__init__(name, token_dropout=0.0)
        self._text = text
        self._decoder = QueryDecoder(weights.under("query_decoder"), dim, config, slots)
        self._interaction = CrossLayer(
            weights.under("interaction"), dim, config.num_heads, "interaction"
        )

    @property
    def token_table(self) -> tf.Tensor:
        """That of the text's encoder."""
        return self._text.token_table

    def encode(
        self, tokens: tf.Tensor, dropout: seeded.TrainingDropout | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns vectors `[batch, dim]`, zero for an empty text, and states of the slots.

        The states are `[batch, num_slots, dim]`; those of an empty text say what is asked at all.
        """
        found, states = self._read(tokens, dropout)
        return embedding_tables.mean_of_vectors(found.vectors, found.weights > 0.0), states

    def __call__(self, tokens: tf.Tensor, dropout: seeded.TrainingDropout | None) -> tf.Tensor:
        """Returns vectors for tokens `[batch, max_tokens]`; an empty text gives zero."""
        return self.encode(tokens, dropout)[0]

    def token_vectors(
        self, tokens: tf.Tensor, dropout: seeded.TrainingDropout | None
    ) -> late_interaction.TokenVectors:
        """Returns the tokens after they have read the slots."""
        return self._read(tokens, dropout)[0]

    def _read(
        self, tokens: tf.Tensor, dropout: seeded.TrainingDropout | None
    ) -> tuple[late_interaction.TokenVectors, tf.Tensor]:
        found = self._text.token_vectors(tokens, dropout)
        present = found.weights > 0.0
        # What an encoder gives behind a text depends on the batch, and an empty text would read it.
        found = found._replace(vectors=tf.where(present[..., tf.newaxis], found.vectors, 0.0))
        states = self._decoder(found.vectors, present)
        everywhere = tf.ones(tf.shape(states)[:2], tf.bool)
        return found._replace(vectors=self._interaction(found.vectors, states, everywhere)), states
