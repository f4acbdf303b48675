"""Pre-LN transformer layer (Xiong et al. 2020): normalise, transform, add."""

from typing import Any

import tensorflow as tf

from tfrs_twotower.layers.attention import SelfAttention
from tfrs_twotower.layers.initial import WeightMaker
from tfrs_twotower.layers.layer_norm import LayerNorm


class FeedForward(tf.Module):
    """Two dense layers with a GELU between them, on each entry."""

    def __init__(self, weights: WeightMaker, dim: int, inner_dim: int) -> None:
        super().__init__(name="feed_forward")
        self._inner_kernel = weights.normal("inner.kernel", [dim, inner_dim], dim**-0.5)
        self._inner_bias = weights.constant("inner.bias", [inner_dim], 0.0)
        self._outer_kernel = weights.normal("outer.kernel", [inner_dim, dim], inner_dim**-0.5)
        self._outer_bias = weights.constant("outer.bias", [dim], 0.0)

    def __call__(self, vectors: tf.Tensor) -> tf.Tensor:
        """Transforms `[batch, width, dim]`."""
        inner = tf.nn.gelu(tf.einsum("bwd,di->bwi", vectors, self._inner_kernel) + self._inner_bias)
        return tf.einsum("bwi,id->bwd", inner, self._outer_kernel) + self._outer_bias

    def assign(
        self, inner_kernel: Any, inner_bias: Any, outer_kernel: Any, outer_bias: Any
    ) -> None:
        """Sets the weights; kernels are `[in, out]`."""
        self._inner_kernel.assign(inner_kernel)
        self._inner_bias.assign(inner_bias)
        self._outer_kernel.assign(outer_kernel)
        self._outer_bias.assign(outer_bias)


class PreNormLayer(tf.Module):
    """`x += attention(norm(x)); x += feed_forward(norm(x))`."""

    def __init__(
        self, weights: WeightMaker, dim: int, num_heads: int, feed_forward_dim: int, name: str
    ) -> None:
        super().__init__(name=name)
        self._attention_norm = LayerNorm(weights.under("attention_norm"), dim)
        self._attention = SelfAttention(weights.under("attention"), dim, num_heads)
        self._feed_forward_norm = LayerNorm(weights.under("feed_forward_norm"), dim)
        self._feed_forward = FeedForward(weights.under("feed_forward"), dim, feed_forward_dim)

    def __call__(self, vectors: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Transforms `[batch, width, dim]`; `present` is `[batch, width]`."""
        vectors += self._attention(self._attention_norm(vectors), present)
        return vectors + self._feed_forward(self._feed_forward_norm(vectors))
