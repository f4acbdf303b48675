"""Encoder of text that starts from a pretrained BERT-type checkpoint."""

import tensorflow as tf

from tfrs_twotower.layers.bert import BertEncoder
from tfrs_twotower.layers.hiding import Hiding
from tfrs_twotower.layers.initial import WeightMaker
from tfrs_twotower.layers.pooling import mean_of_vectors


class PretrainedField(tf.Module):
    """Mean of a pretrained encoder's vectors, projected where its dimension is another one.

    Features of one checkpoint share the encoder, whichever tower they are in.
    """

    def __init__(
        self,
        weights: WeightMaker,
        encoder: BertEncoder,
        dim: int,
        name: str,
        *,
        token_dropout: float = 0.0,
    ) -> None:
        super().__init__(name=name)
        self._encoder = encoder
        self._token_dropout = token_dropout
        hidden = encoder.shape.hidden_dim
        self._projection = (
            None if hidden == dim else weights.normal("projection", [hidden, dim], hidden**-0.5)
        )

    def __call__(self, tokens: tf.Tensor, hiding: Hiding | None) -> tf.Tensor:
        """Vectors of tokens `[batch, max_tokens]`; zero for an empty text."""
        if hiding is not None and self._token_dropout:
            tokens = hiding.entries(tokens, self._token_dropout)
        mean = mean_of_vectors(self._encoder(tokens), tokens > 0)
        return mean if self._projection is None else tf.matmul(mean, self._projection)
