"""The BERT encoder (Devlin et al. 2019): post-LN layers with the weights of a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.layers import seeded, transformer

_STDDEV = 0.02

Tensors = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class BertShape:
    """Dimensions of a BERT encoder, read from its checkpoint."""

    num_pieces: int
    hidden_dim: int
    num_layers: int
    num_heads: int
    feed_forward_dim: int
    num_positions: int
    epsilon: float = 1e-12


class BertEncoder(tf.Module):
    """Maps token ids to contextual vectors; without pairs every token belongs to segment 0."""

    def __init__(
        self, weights: seeded.WeightMaker, shape: BertShape, *, with_pairs: bool = False
    ) -> None:
        super().__init__(name="bert")
        self.shape = shape
        dim = shape.hidden_dim
        self.pieces = weights.normal("pieces", [shape.num_pieces, dim], _STDDEV)
        self._positions = weights.normal("positions", [shape.num_positions, dim], _STDDEV)
        self._segment = weights.normal("segment", [dim], _STDDEV)
        self._second = weights.normal("second_segment", [dim], _STDDEV) if with_pairs else None
        self._norm = transformer.LayerNorm(weights.under("norm"), dim, shape.epsilon)
        self._layers = [
            PostNormLayer(weights.under(f"layer_{number}"), shape, f"layer_{number}")
            for number in range(shape.num_layers)
        ]

    def __call__(self, tokens: tf.Tensor, segments: tf.Tensor | None = None) -> tf.Tensor:
        """Returns vectors `[batch, width, hidden_dim]` of tokens `[batch, width]`; 0 is padding.

        `segments`, `[batch, width]` of 0 and 1, is for an encoder with pairs.
        """
        width = tf.shape(tokens)[1]
        segment = self._segment
        if segments is not None:
            segment = tf.gather(tf.stack([self._segment, self._second]), segments)
        vectors = tf.gather(self.pieces, tokens) + self._positions[:width] + segment
        vectors = self._norm(vectors)
        for layer in self._layers:
            vectors = layer(vectors, tokens > 0)
        return vectors

    def assign(self, tensors: Tensors) -> None:
        """Sets the weights from a checkpoint with the tensor names of the published BERT models.

        Raises:
            KeyError: a tensor is missing.
            ValueError: a tensor has another shape.
        """
        self.pieces.assign(tensors["embeddings.word_embeddings.weight"])
        self._positions.assign(tensors["embeddings.position_embeddings.weight"])
        self._segment.assign(tensors["embeddings.token_type_embeddings.weight"][0])
        if self._second is not None:
            self._second.assign(tensors["embeddings.token_type_embeddings.weight"][1])
        self._norm.assign(
            tensors["embeddings.LayerNorm.weight"], tensors["embeddings.LayerNorm.bias"]
        )
        for number, layer in enumerate(self._layers):
            layer.assign(tensors, f"encoder.layer.{number}.")


class PostNormLayer(tf.Module):
    """`x = norm(x + attention(x)); x = norm(x + feed_forward(x))`."""

    def __init__(self, weights: seeded.WeightMaker, shape: BertShape, name: str) -> None:
        super().__init__(name=name)
        dim = shape.hidden_dim
        self._attention = transformer.Attention(weights.under("attention"), dim, shape.num_heads)
        self._attention_norm = transformer.LayerNorm(
            weights.under("attention_norm"), dim, shape.epsilon
        )
        self._feed_forward = transformer.FeedForward(
            weights.under("feed_forward"), dim, shape.feed_forward_dim
        )
        self._feed_forward_norm = transformer.LayerNorm(
            weights.under("feed_forward_norm"), dim, shape.epsilon
        )

    def __call__(self, vectors: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Transforms `[batch, width, dim]`; `present` is `[batch, width]`."""
        vectors = self._attention_norm(vectors + self._attention(vectors, present))
        return self._feed_forward_norm(vectors + self._feed_forward(vectors))

    def assign(self, tensors: Tensors, prefix: str) -> None:
        """Sets the weights of the layer; a checkpoint stores dense kernels as `[out, in]`."""
        names = {
            "query": "attention.self.query",
            "key": "attention.self.key",
            "value": "attention.self.value",
            "output": "attention.output.dense",
        }
        self._attention.assign(
            {part: tensors[f"{prefix}{name}.weight"].T for part, name in names.items()},
            # A key bias shifts all scores of a row equally, so the softmax does not depend on it.
            {
                part: tensors[f"{prefix}{name}.bias"]
                for part, name in names.items()
                if part != "key"
            },
        )
        for norm, name in (
            (self._attention_norm, "attention.output.LayerNorm"),
            (self._feed_forward_norm, "output.LayerNorm"),
        ):
            norm.assign(tensors[f"{prefix}{name}.weight"], tensors[f"{prefix}{name}.bias"])
        inner, outer = f"{prefix}intermediate.dense", f"{prefix}output.dense"
        self._feed_forward.assign(
            tensors[f"{inner}.weight"].T,
            tensors[f"{inner}.bias"],
            tensors[f"{outer}.weight"].T,
            tensors[f"{outer}.bias"],
        )
