"""The partitioned index as one operation of the project's own."""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from serving.ops import library
from tfrs_twotower.index import ivf, quality
from tfrs_twotower.ranking import FloatArray


class FusedLeafSearch(ivf.IvfSearch):
    """`IvfSearch` that multiplies leaves where they lie, instead of gathering copies of them."""

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

    def look_at(
        self, embeddings: tf.Tensor, num_leaves: tf.Tensor, depth: tf.Tensor | int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """See `IvfSearch.look_at`."""
        scores, rows = self._leaf_search(
            centroids=self.centroids.handle,
            vectors=self.leaves.handle,
            rows=self.rows.handle,
            embeddings=embeddings,
            num_leaves=num_leaves,
            depth=depth,
        )
        return scores, rows
