"""Layer normalisation over the last axis (Ba et al. 2016)."""

from typing import Any

import tensorflow as tf

from tfrs_twotower.layers.initial import WeightMaker


class LayerNorm(tf.Module):
    """`scale * (x - mean) / sqrt(variance + epsilon) + offset`."""

    def __init__(self, weights: WeightMaker, dim: int, epsilon: float = 1e-6) -> None:
        super().__init__(name="layer_norm")
        self._epsilon = epsilon
        self._scale = weights.constant("scale", [dim], 1.0)
        self._offset = weights.constant("offset", [dim], 0.0)

    def __call__(self, vectors: tf.Tensor) -> tf.Tensor:
        """Normalises `[..., dim]`."""
        mean, variance = tf.nn.moments(vectors, axes=[-1], keepdims=True)
        centred = (vectors - mean) * tf.math.rsqrt(variance + self._epsilon)
        return centred * self._scale + self._offset

    def assign(self, scale: Any, offset: Any) -> None:
        """Sets the weights `[dim]`."""
        self._scale.assign(scale)
        self._offset.assign(offset)
