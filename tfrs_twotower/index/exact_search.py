"""Exact search in core TensorFlow operations, over vectors in float32 or in eight bits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.index import answers, restricts
from tfrs_twotower.ranking.order import LOWEST_SCORE, MISSING_ROW, FloatArray

_LARGEST = 127
CHUNK_ROWS = 1 << 17
_CHUNKS_AT_ONCE = 2


@dataclass(frozen=True)
class Int8Vectors:
    """Rounded vectors: row r is `values[r] * scales[r]`."""

    values: npt.NDArray[np.int8]
    """`[num_candidates, embedding_dim]`, in row order."""
    scales: npt.NDArray[np.float32]
    """`[num_candidates]`: value of one step of the row."""

    def __len__(self) -> int:
        return len(self.values)


def to_int8(vectors: npt.NDArray[np.float32]) -> Int8Vectors:
    """Rounds each vector to 255 steps between plus and minus its largest component.

    Args:
        vectors: `[num_candidates, embedding_dim]`.
    """
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    scales = np.where(largest > 0, largest / _LARGEST, 1.0).astype(np.float32)
    return Int8Vectors(np.rint(vectors / scales[:, None]).astype(np.int8), scales)


class ExactSearch(tf.Module):
    """Scores every candidate, in pieces of the corpus so that memory stays bounded.

    Excluded rows are masked before the best are taken, so any number of exclusions leaves a full
    list while enough candidates remain. A piece is read in place: code must not gather from the
    variable `vectors` itself, because TensorFlow then copies it at every later read.
    """

    def __init__(self, vectors: FloatArray | Int8Vectors, *, chunk_rows: int = CHUNK_ROWS) -> None:
        """Keeps the vectors in a variable.

        Args:
            vectors: `[num_candidates, embedding_dim]`, in row order.
            chunk_rows: candidates that are scored at a time.
        """
        super().__init__(name="exact_search")
        self._scales = None
        values: Any = vectors
        if isinstance(vectors, Int8Vectors):
            values = vectors.values
            self._scales = tf.Variable(vectors.scales, trainable=False, name="scales")
        else:
            values = np.asarray(vectors, np.float32)
        self.vectors = tf.Variable(values, trainable=False, name="vectors")
        self._chunk_rows = chunk_rows

    @property
    def is_exact(self) -> bool:
        """Whether the vectors are kept in float32 and not rounded to eight bits."""
        return self._scales is None

    @property
    def num_candidates(self) -> int:
        """Candidates in the corpus."""
        return int(self.vectors.shape[0])

    def search(
        self,
        embeddings: tf.Tensor,
        k: int,
        excluded_rows: tf.Tensor | None = None,
        permits: restricts.Permits | None = None,
        *,
        ordered: bool = True,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Search.search`; the lists are always ordered."""
        del ordered
        if self.num_candidates <= self._chunk_rows:
            best = self._search_chunk(embeddings, k, excluded_rows, permits, 0, self.num_candidates)
        else:
            best = self._search_chunks(embeddings, k, excluded_rows, permits)
        return answers.complete(*best, k)

    def score(self, embeddings: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """See `Search.score`."""
        vectors = tf.cast(tf.gather(self.vectors.read_value(), rows), tf.float32)
        scores = tf.linalg.matvec(vectors, embeddings)
        return (
            scores if self._scales is None else scores * tf.gather(self._scales.read_value(), rows)
        )

    def _search_chunks(
        self,
        embeddings: tf.Tensor,
        k: int,
        excluded_rows: tf.Tensor | None,
        permits: restricts.Permits | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        batch = tf.shape(embeddings)[0]
        shape = tf.TensorShape([None, k])

        def merge(
            start: tf.Tensor, scores: tf.Tensor, rows: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            size = tf.minimum(self._chunk_rows, self.num_candidates - start)
            more = self._search_chunk(embeddings, k, excluded_rows, permits, start, size)
            # Earlier chunks hold smaller rows and come first, so top_k's ties stay in order.
            both = tf.concat([scores, more[0]], axis=1)
            scores, columns = tf.math.top_k(both, k)
            rows = tf.gather(tf.concat([rows, more[1]], axis=1), columns, batch_dims=1)
            return start + size, scores, rows

        empty = (
            tf.constant(0),
            tf.fill([batch, k], LOWEST_SCORE),
            tf.fill([batch, k], MISSING_ROW),
        )
        _, scores, rows = tf.while_loop(
            lambda start, _scores, _rows: start < self.num_candidates,
            merge,
            empty,
            shape_invariants=(tf.TensorShape([]), shape, shape),
            parallel_iterations=_CHUNKS_AT_ONCE,
        )
        return scores, rows

    def _search_chunk(
        self,
        embeddings: tf.Tensor,
        k: int,
        excluded_rows: tf.Tensor | None,
        permits: restricts.Permits | None,
        start: tf.Tensor | int,
        size: tf.Tensor | int,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        scores = self._score(embeddings, start, size)
        if permits is not None:
            scores = tf.where(permits.of_range(start, size), scores, LOWEST_SCORE)
        if excluded_rows is not None:
            inside = tf.logical_and(excluded_rows >= start, excluded_rows < start + size)
            at = tf.where(inside)
            columns = tf.boolean_mask(excluded_rows, inside) - start
            places = tf.stack([tf.cast(at[:, 0], tf.int32), columns], axis=1)
            lowest = tf.fill([tf.shape(places)[0]], LOWEST_SCORE)
            scores = tf.tensor_scatter_nd_update(scores, places, lowest)
        scores, columns = tf.math.top_k(scores, tf.minimum(k, size))
        return scores, columns + start

    def _score(
        self, embeddings: tf.Tensor, start: tf.Tensor | int, size: tf.Tensor | int
    ) -> tf.Tensor:
        whole = self.num_candidates <= self._chunk_rows
        vectors = self.vectors if whole else self.vectors[start : start + size]
        if self._scales is None:
            return tf.matmul(embeddings, vectors, transpose_b=True)
        scores = tf.matmul(embeddings, tf.cast(vectors, tf.float32), transpose_b=True)
        return scores * (self._scales if whole else self._scales[start : start + size])
