"""The candidate side of the pre-ranker in the form that the fused operation reads.

`serving/ops/second_stage.h` says what a row of the table is. `of_rows` reads the same table in core
operations: it serves the signature that scores listed candidates, and the tests.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.graph.candidate_heads import Heads, HeadStorage, stored_heads
from serving.ops import library
from tfrs_twotower.ranking import FloatArray

_LANES = 16
"""The operation takes heads of multiples of this dimension; zeros fill the others."""
_CACHE_LINE = 64
_FLOAT_BYTES = 4


class PackedHeads(tf.Module):
    """Heads and constants of every candidate, a stretch of bytes for each; see `CandidateHeads`."""

    def __init__(
        self, members: Sequence[FloatArray], constants: FloatArray, storage: HeadStorage
    ) -> None:
        """Packs the arrays; see `CandidateHeads`.

        Raises:
            UnsupportedEnvironment, CorruptArtifact: see `serving.ops.library.load`.
        """
        super().__init__(name="packed_heads")
        self._second_stage = library.load().twotower_second_stage
        self._storage = storage
        self._shapes = [heads.shape[1:] for heads in members]
        padded = [_padded(heads) for heads in members]
        self._padded_dims = [heads.shape[2] for heads in padded]
        entries, scales = stored_heads(padded, len(constants), storage)
        self._num_scales = sum(part.shape[1] for part in scales)
        numbers = np.concatenate([constants[:, None], *scales], axis=1).astype(np.float32)
        self._table = tf.Variable(_rows(numbers, entries), trainable=False, name="packed_heads")
        self._entry_bytes = entries.shape[1] * entries.itemsize

    def of_rows(self, rows: tf.Tensor) -> tuple[list[Heads], tf.Tensor]:
        """See `CandidateHeads.of_rows`."""
        number_bytes = _FLOAT_BYTES * (1 + self._num_scales)
        used = tf.gather(self._table, rows)[:, :, : number_bytes + self._entry_bytes]
        numbers = _floats(used[:, :, :number_bytes])
        entries = used[:, :, number_bytes:]
        if self._storage == "int8":
            vectors = tf.cast(tf.bitcast(entries, tf.int8), tf.float32)
        else:
            vectors = _floats(entries)
        found, first_entry, first_scale = [], 0, 1
        for (num_heads, dim), padded_dim in zip(self._shapes, self._padded_dims, strict=True):
            own = vectors[:, :, first_entry : first_entry + num_heads * padded_dim]
            first_entry += num_heads * padded_dim
            if padded_dim != dim:
                outer = [*tf.unstack(tf.shape(rows)), num_heads]
                own = tf.reshape(own, [*outer, padded_dim])[..., :dim]
                own = tf.reshape(own, [*outer[:2], num_heads * dim])
            scales = None
            if self._storage == "int8":
                scales = numbers[:, :, first_scale : first_scale + num_heads]
                first_scale += num_heads
            found.append(Heads(own, scales))
        return found, numbers[:, :, 0]

    def best(
        self,
        query_heads: Sequence[tf.Tensor],
        factors: Sequence[float],
        rows: tf.Tensor,
        given: tf.Tensor,
        k: int,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores listed candidates, and keeps the best of each list.

        Args:
            query_heads: of each member, `[batch, R, head_dim]`.
            factors: of each member's score.
            rows: `[batch, n]` int32; -1 marks a place without a candidate.
            given: `[batch, n]`, what is added to the members' scores and the constants.
            k: list length.

        Returns:
            Scores and rows `[batch, k]`; see `answers.order`.
        """
        filled = [
            tf.pad(heads, [[0, 0], [0, 0], [0, padded_dim - heads.shape[2]]])
            for heads, padded_dim in zip(query_heads, self._padded_dims, strict=True)
        ]
        flat = [tf.reshape(heads, [-1, heads.shape[1] * heads.shape[2]]) for heads in filled]
        scores, rows = self._second_stage(
            table=self._table.handle,
            rows=rows,
            scores=given,
            query_heads=tf.concat(flat, axis=1) if flat else tf.zeros([tf.shape(rows)[0], 0]),
            num_query_heads=[heads.shape[1] for heads in filled],
            num_candidate_heads=[num_heads for num_heads, _ in self._shapes],
            head_dims=self._padded_dims,
            factors=factors,
            storage=self._storage,
            k=k,
        )
        return scores, rows


def _padded(heads: FloatArray) -> FloatArray:
    lacking = -heads.shape[2] % _LANES
    return np.pad(heads, [(0, 0), (0, 0), (0, lacking)]) if lacking else heads


def _rows(numbers: FloatArray, entries: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """`[num_candidates, row_bytes]`; every row begins a cache line."""
    parts = [numbers.view(np.uint8), np.ascontiguousarray(entries).view(np.uint8)]
    used = sum(part.shape[1] for part in parts)
    table = np.zeros((len(numbers), used + -used % _CACHE_LINE), np.uint8)
    np.concatenate(parts, axis=1, out=table[:, :used])
    return table


def _floats(values: tf.Tensor) -> tf.Tensor:
    """Bytes `[batch, n, 4 * m]` as float32 `[batch, n, m]`."""
    shape = [*tf.unstack(tf.shape(values)[:2]), values.shape[2] // _FLOAT_BYTES, _FLOAT_BYTES]
    return tf.bitcast(tf.reshape(values, shape), tf.float32)
