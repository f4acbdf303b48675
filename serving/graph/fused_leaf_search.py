"""The partitioned index as one operation of the project's own.

`serving/ops/codes.h` says what a block of vectors in eight bits is, and `leaf_search.h` how it is
searched.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.ops import library
from tfrs_twotower.index import ivf, quality, restricts
from tfrs_twotower.ranking import MISSING_ROW, FloatArray

_LANES = 16
_CODES_OF_WORD = 4
_LARGEST = 127
_ZERO_CODE = 128
_NUMBERS_OF_BLOCK = 2
_ULP = 2.0**-23
_OTHER_STEPS = 4  # of a product, beside the additions: two factors, the base, codes of zero
_LEAVES_AT_ONCE = 512


class FusedLeafSearch(ivf.IvfSearch):
    """`IvfSearch` over vectors in eight bits, of which those that may be the best are read whole.

    The rounding is bounded for each vector, so that the lists are those of `IvfSearch`.
    """

    def __init__(
        self,
        vectors: FloatArray,
        trained: Mapping[str, npt.NDArray[Any]],
        parameters: quality.SearchParameters,
        *,
        max_excluded: int,
    ) -> None:
        """See `IvfSearch`.

        Raises:
            UnsupportedEnvironment, CorruptArtifact: see `serving.ops.library.load`.
        """
        super().__init__(vectors, trained, parameters, max_excluded=max_excluded)
        self._leaf_search = library.load().twotower_leaf_search
        norms = np.linalg.norm(self.centroids.numpy(), axis=1)
        coded = _blocks(self.centroids.numpy()[None], norms[None])[0]
        self.centroid_codes = tf.Variable(coded, trainable=False, name="centroid_codes")

    def stored(
        self, vectors: FloatArray, trained: Mapping[str, npt.NDArray[Any]]
    ) -> npt.NDArray[np.uint8]:
        """What vectors are more than their centroid, `[num_leaves, blocks, block_bytes]`."""
        rows, centroids = trained["rows"], trained["centroids"]
        parts = []
        for start in range(0, len(rows), _LEAVES_AT_ONCE):
            part = slice(start, start + _LEAVES_AT_ONCE)
            own = vectors[np.maximum(rows[part], 0)]
            norms = np.linalg.norm(own, axis=2) + np.linalg.norm(centroids[part], axis=1)[:, None]
            is_missing = rows[part] == MISSING_ROW
            parts.append(_blocks(own - centroids[part, None], norms, is_missing))
        return np.concatenate(parts)

    def look_at(
        self, embeddings: tf.Tensor, num_leaves: tf.Tensor, depth: tf.Tensor | int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """See `IvfSearch.look_at`."""
        scores, rows, _ = self._look_at(embeddings, num_leaves, depth, None)
        return scores, rows

    def search_usual(
        self,
        embeddings: tf.Tensor,
        depth: int,
        excluded_rows: tf.Tensor | None,
        permits: restricts.Permits | None,
        parameters: quality.SearchParameters,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """See `PartialSearch.search_usual`, which is part of the one operation here."""
        if permits is not None:
            return super().search_usual(embeddings, depth, excluded_rows, permits, parameters)
        num_leaves = self.num_leaves_for(depth, parameters)
        return self._look_at(embeddings, num_leaves, depth, excluded_rows)

    def _look_at(
        self,
        embeddings: tf.Tensor,
        num_leaves: tf.Tensor,
        depth: tf.Tensor | int,
        excluded_rows: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        if excluded_rows is None:
            excluded_rows = tf.fill([tf.shape(embeddings)[0], 0], MISSING_ROW)
        scores, rows, complete = self._leaf_search(
            centroids=self.centroids.handle,
            centroid_codes=self.centroid_codes.handle,
            leaves=self.leaves.handle,
            rows=self.rows.handle,
            vectors=self.exact.vectors.handle,
            embeddings=embeddings,
            num_leaves=num_leaves,
            depth=depth,
            excluded=excluded_rows,
        )
        return scores, rows, complete


def _blocks(
    vectors: FloatArray, norms: FloatArray, is_missing: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.uint8]:
    """Blocks of vectors; the errors bound the rounding to codes and that of every float32 sum.

    Args:
        vectors: `[num_lists, count, dim]`.
        norms: `[num_lists, count]`: largest sum of the lengths that a product is made of.
        is_missing: `[num_lists, count]` places without a vector; None if there are none.

    Returns:
        `[num_lists, ceil(count / 16), block_bytes]`.
    """
    num_lists, count, dim = vectors.shape
    scales = np.maximum(np.abs(vectors).max(axis=2) / _LARGEST, np.finfo(np.float32).tiny)
    codes = np.rint(vectors / scales[:, :, None])
    lost = np.linalg.norm(vectors - codes * scales[:, :, None], axis=2)
    codes_length = 2 * _ZERO_CODE * np.sqrt(dim)
    rounding = (dim + _OTHER_STEPS) * _ULP
    errors = lost * (1 + rounding) + rounding * (norms + codes_length * scales)
    if is_missing is not None:
        scales = np.where(is_missing, np.nan, scales)
    more = -count % _LANES
    scales = np.pad(scales, [(0, 0), (0, more)], constant_values=np.nan)
    numbers = np.stack([scales, np.pad(errors, [(0, 0), (0, more)])], axis=2).astype(np.float32)
    codes = np.pad(codes + _ZERO_CODE, [(0, 0), (0, more), (0, -dim % _CODES_OF_WORD)])
    shape = (num_lists, (count + more) // _LANES, _LANES)
    words = codes.astype(np.uint8).reshape(*shape, -1, _CODES_OF_WORD).swapaxes(2, 3)
    parts = [numbers.reshape(*shape, _NUMBERS_OF_BLOCK).swapaxes(2, 3), words]
    flat = [np.ascontiguousarray(part).reshape(*shape[:2], -1).view(np.uint8) for part in parts]
    return np.concatenate(flat, axis=2)
