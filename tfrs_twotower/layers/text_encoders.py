"""Text encoders: a weighted bag, a transformer, and a pretrained BERT-type encoder."""

from abc import abstractmethod

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.config import TransformerConfig
from tfrs_twotower.layers import (
    bert,
    embedding_tables,
    late_interaction,
    seeded,
    transformer,
)
from tfrs_twotower.layers.length_parts import in_parts_of_similar_length

_NUM_POSITION_BUCKETS = 8


class TextField(tf.Module):
    """An encoder of texts, which makes one vector of a text, and may give those of its tokens."""

    def __init__(self, name: str, token_dropout: float) -> None:
        super().__init__(name=name)
        self._token_dropout = token_dropout

    def kept(self, tokens: tf.Tensor, dropout: seeded.TrainingDropout | None) -> tf.Tensor:
        """Returns the tokens without those that training hides."""
        if dropout is not None and self._token_dropout:
            return dropout.drop_entries(tokens, self._token_dropout)
        return tokens

    @abstractmethod
    def token_vectors(
        self, tokens: tf.Tensor, dropout: seeded.TrainingDropout | None
    ) -> late_interaction.TokenVectors:
        """Returns the vector of each of the tokens `[batch, max_tokens]`."""

    @property
    @abstractmethod
    def token_table(self) -> tf.Tensor:
        """`[num_pieces, dim]`: the vector of each word piece by itself."""


class BagField(TextField):
    """The weighted mean of the token rows; each token has a learned weight exp(w), at first 1.

    With `positions`, the weight is exp(w + p), where p is learned for a bucket of positions in the
    text: the first position, the next two, the next four, and so on; the last bucket is open. With
    `spread`, w and p start at random values of this standard deviation, so that several bags of
    one text differ.
    """

    def __init__(
        self,
        weights: seeded.WeightMaker,
        table: tf.Variable,
        name: str,
        *,
        token_dropout: float = 0.0,
        positions: bool = False,
        spread: float = 0.0,
    ) -> None:
        super().__init__(name, token_dropout)
        self.table = table
        self._log_weight = weights.normal("log_weight", [table.shape[0]], spread)
        self._position = (
            weights.normal("position", [_NUM_POSITION_BUCKETS], spread) if positions else None
        )

    @property
    def token_table(self) -> tf.Tensor:
        """The rows."""
        return self.table

    @property
    def num_pieces(self) -> int:
        """Number of word pieces in the vocabulary."""
        return int(self._log_weight.shape[0])

    @property
    def token_weights(self) -> npt.NDArray[np.float32]:
        """The weight exp(w) of each token, `[num_pieces]`."""
        weights: npt.NDArray[np.float32] = np.exp(self._log_weight.numpy())
        return weights

    def multiply_weights(self, factors: npt.NDArray[np.float32]) -> None:
        """Multiplies the token weights by `factors`, `[num_pieces]`, all positive."""
        self._log_weight.assign_add(np.log(factors))

    def __call__(self, tokens: tf.Tensor, dropout: seeded.TrainingDropout | None) -> tf.Tensor:
        """Returns means over tokens `[batch, max_tokens]`."""
        tokens = self.kept(tokens, dropout)
        return embedding_tables.mean_of_rows(self.table, tokens, self._weights_of(tokens))[0]

    def token_vectors(
        self, tokens: tf.Tensor, dropout: seeded.TrainingDropout | None
    ) -> late_interaction.TokenVectors:
        """Returns the rows and the weights of the tokens."""
        tokens = self.kept(tokens, dropout)
        weights = tf.where(tokens > 0, self._weights_of(tokens), 0.0)
        return late_interaction.TokenVectors(tf.gather(self.table, tokens), weights)

    def _weights_of(self, tokens: tf.Tensor) -> tf.Tensor:
        log_weights = tf.gather(self._log_weight, tokens)
        if self._position is not None:
            log_weights += tf.gather(self._position, _position_buckets(tokens.shape[1]))
        return tf.exp(log_weights)


def _position_buckets(width: int) -> npt.NDArray[np.int32]:
    buckets = np.log2(np.arange(width) + 1).astype(np.int32)
    return np.minimum(buckets, _NUM_POSITION_BUCKETS - 1)


class ContextualField(TextField):
    """An encoder whose vector of a token depends on the text around it.

    It encodes a batch in parts of texts of similar length; see `layers.length_parts`.
    """

    @abstractmethod
    def contextual(self, tokens: tf.Tensor) -> tf.Tensor:
        """Returns vectors `[n, width, dim]` of tokens `[n, width]`, width at most `max_tokens`."""

    def means(self, tokens: tf.Tensor, dropout: seeded.TrainingDropout | None) -> tf.Tensor:
        """Returns the mean over the tokens of each text, `[batch, dim]`."""
        return in_parts_of_similar_length(
            lambda part: embedding_tables.mean_of_vectors(self.contextual(part), part > 0),
            self.kept(tokens, dropout),
            training=dropout is not None,
        )

    def token_vectors(
        self, tokens: tf.Tensor, dropout: seeded.TrainingDropout | None
    ) -> late_interaction.TokenVectors:
        """Returns the contextual vector of each token, as wide as the input; all weigh 1."""
        tokens = self.kept(tokens, dropout)
        width = tf.shape(tokens)[1]

        def encode(part: tf.Tensor) -> tf.Tensor:
            behind = width - tf.shape(part)[1]
            return tf.pad(self.contextual(part), [[0, 0], [0, behind], [0, 0]])

        vectors = in_parts_of_similar_length(encode, tokens, training=dropout is not None)
        vectors = tf.ensure_shape(vectors, [None, tokens.shape[1], None])
        return late_interaction.TokenVectors(vectors, tf.cast(tokens > 0, tf.float32))


class TransformerField(ContextualField):
    """A pre-LN transformer over token rows and learned positions, then the mean over tokens."""

    def __init__(
        self,
        weights: seeded.WeightMaker,
        table: tf.Variable,
        config: TransformerConfig,
        max_tokens: int,
        name: str,
        *,
        token_dropout: float = 0.0,
    ) -> None:
        super().__init__(name, token_dropout)
        dim = table.shape[1]
        self._table = table
        self._positions = weights.normal(
            "positions", [max_tokens, dim], embedding_tables.MAIN_STDDEV
        )
        self._layers = transformer.pre_norm_layers(weights, dim, config)
        self._norm = transformer.LayerNorm(weights.under("norm"), dim)

    @property
    def token_table(self) -> tf.Tensor:
        """The rows."""
        return self._table

    def __call__(self, tokens: tf.Tensor, dropout: seeded.TrainingDropout | None) -> tf.Tensor:
        """Returns vectors for tokens `[batch, max_tokens]`; an empty text gives zero."""
        return self.means(tokens, dropout)

    def contextual(self, tokens: tf.Tensor) -> tf.Tensor:
        """Returns the output of the last layer."""
        present = tokens > 0
        vectors = tf.gather(self._table, tokens) + self._positions[: tf.shape(tokens)[1]]
        for layer in self._layers:
            vectors = layer(vectors, present)
        return self._norm(vectors)


class PretrainedField(ContextualField):
    """The mean of a pretrained encoder's vectors, projected if its dimension differs.

    Features with the same checkpoint share the encoder, in both towers.
    """

    def __init__(
        self,
        encoder: bert.BertEncoder,
        projection: tf.Variable | None,
        name: str,
        *,
        token_dropout: float = 0.0,
    ) -> None:
        super().__init__(name, token_dropout)
        self._encoder = encoder
        self._projection = projection

    @property
    def token_table(self) -> tf.Tensor:
        """The projected rows of the encoder."""
        rows = self._encoder.pieces
        return rows if self._projection is None else tf.matmul(rows, self._projection)

    def __call__(self, tokens: tf.Tensor, dropout: seeded.TrainingDropout | None) -> tf.Tensor:
        """Returns vectors for tokens `[batch, max_tokens]`; an empty text gives zero."""
        # The projection of a mean is the mean of the projections, and cheaper.
        mean = self.means(tokens, dropout)
        return mean if self._projection is None else tf.matmul(mean, self._projection)

    def contextual(self, tokens: tf.Tensor) -> tf.Tensor:
        """Returns the encoder's output, not projected."""
        return self._encoder(tokens)

    def token_vectors(
        self, tokens: tf.Tensor, dropout: seeded.TrainingDropout | None
    ) -> late_interaction.TokenVectors:
        """Returns the projected output of the encoder for each token; all have the weight 1."""
        found = super().token_vectors(tokens, dropout)
        if self._projection is None:
            return found
        projected = tf.einsum("bwh,hd->bwd", found.vectors, self._projection)
        return found._replace(vectors=projected)


def projection_of(
    weights: seeded.WeightMaker, encoder: bert.BertEncoder, dim: int
) -> tf.Variable | None:
    """Makes the projection `[hidden_dim, dim]` of a pretrained encoder; None for equal sizes."""
    hidden = encoder.shape.hidden_dim
    return None if hidden == dim else weights.normal("projection", [hidden, dim], hidden**-0.5)
