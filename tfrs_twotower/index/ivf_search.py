"""Partitioned search in core TensorFlow operations, which a stock TF Serving loads."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.index.exact import MISSING_ROW, FloatArray
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.index.partial_search import NOTHING_FOUND, PartialSearch
from tfrs_twotower.index.search_parameters import SearchParameters

_LEAVES_PER_DEPTH = 2
_QUERIES_AT_ONCE = 2


class IvfSearch(PartialSearch):
    """Scores the candidates of the leaves whose centroids are nearest (IVF, Jegou et al. 2011).

    A leaf is one contiguous block, padded to a fixed size, so that a query gathers a few wide
    blocks. Queries of a batch are answered a few at a time: memory is that of the leaves they
    look at.
    """

    def __init__(
        self,
        vectors: FloatArray,
        trained: Mapping[str, npt.NDArray[Any]],
        parameters: SearchParameters,
        *,
        max_excluded: int = 1000,
    ) -> None:
        """Arranges the vectors by leaf.

        Args:
            vectors: `[num_candidates, embedding_dim]`, those that `trained` was trained on.
            trained: arrays of `ivf_training.train_ivf`.
            parameters: how many leaves to look at.
            max_excluded: exclusions of a query that a longer search makes up for.
        """
        super().__init__("ivf_search", ExactSearch(vectors), parameters, max_excluded)
        rows, centroids = trained["rows"], trained["centroids"]
        self._num_leaves, self._leaf_size = rows.shape
        real = (rows != MISSING_ROW)[:, :, None]
        leaves = np.where(real, vectors[np.maximum(rows, 0)], np.float32(0.0))
        self._leaves = tf.Variable(leaves, trainable=False, name="leaves")
        self._rows = tf.Variable(rows, trainable=False, name="rows")
        self._centroids = tf.Variable(centroids, trainable=False, name="centroids")

    def near(
        self, embeddings: tf.Tensor, depth: tf.Tensor | int, parameters: SearchParameters
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """See `PartialSearch.near`; looks at more leaves where their candidates would not do."""
        enough = -(-_LEAVES_PER_DEPTH * depth // self._leaf_size)
        num_leaves = tf.maximum(parameters.num_leaves_to_search, enough)
        num_leaves = tf.minimum(num_leaves, self._num_leaves)
        likeness = tf.matmul(embeddings, self._centroids, transpose_b=True)
        chosen = tf.math.top_k(likeness, num_leaves, sorted=False).indices
        leaves, rows = self._leaves.read_value(), self._rows.read_value()
        dim = embeddings.shape[1]

        def answer(query: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            embedding, own = query
            vectors = tf.reshape(tf.gather(leaves, own), [-1, dim])
            own_rows = tf.reshape(tf.gather(rows, own), [-1])
            scores = tf.linalg.matvec(vectors, embedding)
            scores = tf.where(own_rows == MISSING_ROW, NOTHING_FOUND, scores)
            scores, places = tf.math.top_k(scores, depth, sorted=False)
            return scores, tf.gather(own_rows, places)

        return tf.map_fn(
            answer,
            (embeddings, chosen),
            fn_output_signature=(
                tf.TensorSpec([None], tf.float32),
                tf.TensorSpec([None], tf.int32),
            ),
            parallel_iterations=_QUERIES_AT_ONCE,
        )
