"""The candidate side of the pre-ranker, precomputed and stored in the graph.

One row of one array holds all heads of a candidate, of every member, so that one gather reads them.
For storage as int8 or float16, each head of each candidate is divided by its own scale, so that its
largest absolute entry becomes the largest number in use (127 for int8, 1.0 for float16).
"""

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

HeadStorage = Literal["float32", "float16", "int8"]
_LARGEST = {"float16": 1.0, "int8": 127.0}
_ROWS_AT_ONCE = 1 << 16
_FEW_HEADS = 16


class Heads(NamedTuple):
    """Heads of some candidates, of one member."""

    vectors: tf.Tensor
    """`[batch, n, num_heads * head_dim]` float32, not yet multiplied by the scales."""
    scales: tf.Tensor | None
    """`[batch, n, num_heads]`; None if the heads are stored as float32, without scales."""

    def scaled(self, head_dim: int) -> tf.Tensor:
        """`[batch, n, num_heads, head_dim]` multiplied by the scales."""
        batch, n = tf.unstack(tf.shape(self.vectors)[:2])
        heads = tf.reshape(self.vectors, [batch, n, self.vectors.shape[2] // head_dim, head_dim])
        return heads if self.scales is None else heads * self.scales[..., tf.newaxis]


class CandidateHeads(tf.Module):
    """Heads of every candidate, and the constant part of its score, which no query changes."""

    def __init__(
        self,
        members: Sequence[npt.NDArray[np.float32]],
        constants: npt.NDArray[np.float32],
        storage: HeadStorage = "float32",
    ) -> None:
        """Stores the arrays.

        Args:
            members: `[num_candidates, num_heads, head_dim]` of each member, in row order; may be
                empty.
            constants: `[num_candidates]`, added to every score of the candidate.
            storage: type of the stored heads; constants and scales stay float32.
        """
        super().__init__(name="candidate_heads")
        self._num_heads = [heads.shape[1] for heads in members]
        self._widths = [heads.shape[1] * heads.shape[2] for heads in members]
        stored, scales = stored_heads(members, len(constants), storage)
        self._vectors = tf.Variable(stored, trainable=False, name="heads")
        numbers = np.concatenate([constants[:, None], *scales], axis=1)
        self._numbers = tf.Variable(numbers, trainable=False, name="constants_and_scales")

    def of_rows(self, rows: tf.Tensor) -> tuple[list[Heads], tf.Tensor]:
        """Heads of each member, and the constants `[batch, n]`, of rows `[batch, n]`, all >= 0."""
        vectors = tf.cast(tf.gather(self._vectors, rows), tf.float32)
        parts = [vectors][: len(self._widths)]
        if len(self._widths) > 1:
            parts = tf.split(vectors, self._widths, axis=2)
        numbers = tf.gather(self._numbers, rows)
        scales: list[tf.Tensor | None] = [None] * len(parts)
        constants = numbers[:, :, 0]
        if numbers.shape[2] > 1:
            scales = list(tf.split(numbers[:, :, 1:], self._num_heads, axis=2))
        return [Heads(*part) for part in zip(parts, scales, strict=True)], constants


def best_matches(query_heads: tf.Tensor, candidates: Heads) -> tf.Tensor:
    """Scores listed candidates: the best product of each query head, summed over the query heads.

    Equals `layers.fe_block.interaction_scores`. A single query, the usual request, is computed
    separately, because TensorFlow multiplies two matrices faster than a batch of one pair.

    Args:
        query_heads: `[batch, R, head_dim]`.
        candidates: their heads, of one member.

    Returns:
        `[batch, n]`.
    """
    return tf.cond(
        tf.shape(query_heads)[0] == 1,
        lambda: _best_matches_of_one(query_heads, candidates),
        lambda: _best_matches_of_many(query_heads, candidates),
    )


def _best_matches_of_one(query_heads: tf.Tensor, candidates: Heads) -> tf.Tensor:
    num_query_heads, dim = query_heads.shape[1:]
    num_heads = candidates.vectors.shape[2] // dim
    flat = tf.reshape(candidates.vectors, [-1, dim])
    products = tf.matmul(query_heads[0], flat, transpose_b=True)
    if candidates.scales is not None:
        products *= tf.reshape(candidates.scales, [1, -1])
    products = tf.reshape(products, [num_query_heads, -1, num_heads])
    if num_heads > _FEW_HEADS:
        return tf.reduce_sum(tf.reduce_max(products, axis=2), axis=0, keepdims=True)
    # A maximum over an innermost axis of a few heads runs far slower.
    of_heads = tf.unstack(products, axis=2)
    return tf.reduce_sum(functools.reduce(tf.maximum, of_heads), axis=0, keepdims=True)


def _best_matches_of_many(query_heads: tf.Tensor, candidates: Heads) -> tf.Tensor:
    num_query_heads, dim = query_heads.shape[1:]
    batch, n, _ = tf.unstack(tf.shape(candidates.vectors))
    num_heads = candidates.vectors.shape[2] // dim
    flat = tf.reshape(candidates.vectors, [batch, n * num_heads, dim])
    products = tf.matmul(flat, query_heads, transpose_b=True)
    if candidates.scales is not None:
        products *= tf.reshape(candidates.scales, [batch, n * num_heads, 1])
    products = tf.reshape(products, [batch, n, num_heads, num_query_heads])
    return tf.reduce_sum(tf.reduce_max(products, axis=2), axis=2)


def rounded(heads: npt.NDArray[np.float32], storage: HeadStorage) -> npt.NDArray[np.float32]:
    """Heads `[num_candidates, num_heads, head_dim]` as they are read back from storage."""
    stored, scales = stored_heads([heads], len(heads), storage)
    if not scales:
        return heads
    return stored.reshape(heads.shape).astype(np.float32) * scales[0][:, :, np.newaxis]


def stored_heads(
    members: Sequence[npt.NDArray[np.float32]], num_candidates: int, storage: HeadStorage
) -> tuple[npt.NDArray[np.generic], list[npt.NDArray[np.float32]]]:
    """All heads in one array `[num_candidates, width]`, and each member's scales."""
    width = sum(heads.shape[1] * heads.shape[2] for heads in members)
    stored = np.empty((num_candidates, width), storage)
    if storage == "float32":
        rows = [heads.reshape(num_candidates, -1) for heads in members]
        return (np.concatenate(rows, axis=1, out=stored) if rows else stored), []
    largest = _LARGEST[storage]
    scales = [np.empty(heads.shape[:2], np.float32) for heads in members]
    for start in range(0, num_candidates, _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        column = 0
        for heads, scale in zip(members, scales, strict=True):
            entries = heads[part]
            peaks = np.abs(entries).max(axis=2)
            scale[part] = np.maximum(peaks / largest, np.finfo(np.float32).tiny)
            scaled = entries / scale[part][:, :, np.newaxis]
            scaled = np.rint(scaled) if storage == "int8" else scaled
            flat = scaled.reshape(len(entries), -1)
            stored[part, column : column + flat.shape[1]] = flat
            column += flat.shape[1]
    return stored, scales
