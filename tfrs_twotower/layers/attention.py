"""Multi-head self-attention over the entries of a sequence that are present."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_twotower.layers.initial import WeightMaker

_HIDDEN_SCORE = -1e9


class SelfAttention(tf.Module):
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2), with biases as in BERT."""

    def __init__(self, weights: WeightMaker, dim: int, num_heads: int) -> None:
        super().__init__(name="attention")
        self._num_heads = num_heads
        self._head_dim = dim // num_heads
        stddev = dim**-0.5
        self._kernels = {
            part: weights.normal(f"{part}.kernel", [dim, dim], stddev)
            for part in ("query", "key", "value", "output")
        }
        self._biases = {
            part: weights.constant(f"{part}.bias", [dim], 0.0)
            for part in ("query", "value", "output")
        }
        # No bias for keys: it would add the same to every score of a row, and softmax cancels it.

    def __call__(self, vectors: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Attends from every entry to the present ones.

        Args:
            vectors: `[batch, width, dim]`.
            present: `[batch, width]` boolean.

        Returns:
            `[batch, width, dim]`.
        """
        query = self._heads(self._project(vectors, "query"))
        key = self._heads(tf.einsum("bwi,io->bwo", vectors, self._kernels["key"]))
        value = self._heads(self._project(vectors, "value"))
        scores = tf.einsum("bqhd,bkhd->bhqk", query, key) * self._head_dim**-0.5
        scores = tf.where(present[:, tf.newaxis, tf.newaxis, :], scores, _HIDDEN_SCORE)
        mixed = tf.einsum("bhqk,bkhd->bqhd", tf.nn.softmax(scores), value)
        return self._project(tf.reshape(mixed, tf.shape(vectors)), "output")

    def assign(self, kernels: Mapping[str, Any], biases: Mapping[str, Any]) -> None:
        """Sets the weights: kernels `[in, out]` of all four parts, biases of all but the key."""
        for part, kernel in self._kernels.items():
            kernel.assign(kernels[part])
        for part, bias in self._biases.items():
            bias.assign(biases[part])

    def _project(self, vectors: tf.Tensor, part: str) -> tf.Tensor:
        return tf.einsum("bwi,io->bwo", vectors, self._kernels[part]) + self._biases[part]

    def _heads(self, vectors: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(vectors)
        return tf.reshape(vectors, [shape[0], shape[1], self._num_heads, self._head_dim])
