"""A partitioned index (IVF) in core TensorFlow operations, which a stock TF Serving loads."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.config import IndexConfig
from tfrs_twotower.index import exact_search, partial_search, quality
from tfrs_twotower.ranking.order import MISSING_ROW, FloatArray

# Measured on a million candidates of 64 dimensions: against the square root, four times as many
# clusters find the same neighbours among a tenth of the candidates, and scoring the centroids
# costs less than that saves.
_CLUSTERS_PER_ROOT = 4
_ROUNDED_TO = 16
_LEAF_SHARES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
_PRODUCTS_AT_ONCE = 1 << 25
_ROUNDS = 10
_SEED = 0
_SAMPLE_PER_LEAF = 40
_LEAVES_PER_DEPTH = 2
_QUERIES_AT_ONCE = 2


@dataclass(frozen=True)
class IvfTraining:
    """Parameters of the training of a partitioned index."""

    num_clusters: int
    """Clusters of k-means."""
    leaf_size: int
    """Candidates of a leaf, at most; a larger cluster becomes several leaves."""


def ivf_training(config: IndexConfig, num_candidates: int) -> IvfTraining:
    """Parameters for a corpus: leaves of half the mean cluster waste little on padding."""
    wanted = config.num_leaves or round(_CLUSTERS_PER_ROOT * math.sqrt(num_candidates))
    num_clusters = max(1, min(wanted, num_candidates // 10))
    half = num_candidates / num_clusters / 2
    return IvfTraining(num_clusters, _ROUNDED_TO * math.ceil(half / _ROUNDED_TO))


def ivf_grid(
    config: IndexConfig, num_leaves: int, num_candidates: int
) -> list[quality.SearchParameters]:
    """Numbers of leaves to try, fewest first; a value that the config gives is not varied."""
    k, given = min(config.k, num_candidates), config.num_leaves_to_search
    shares = {math.ceil(share * num_leaves) for share in _LEAF_SHARES}
    leaves = {min(given, num_leaves)} if given else shares
    return [quality.SearchParameters(k, number, None) for number in sorted(leaves)]


def k_means(vectors: FloatArray, num_centroids: int, sample: int) -> FloatArray:
    """Centroids by Lloyd's algorithm, from random vectors of a sample.

    A centroid that loses all its vectors starts again from a vector of the largest partition.

    Args:
        vectors: `[num_vectors, dim]`, at least `num_centroids`.
        num_centroids: partitions.
        sample: vectors that are looked at, at most.

    Returns:
        `[num_centroids, dim]`.
    """
    rng = np.random.default_rng(_SEED)
    picked = vectors
    if len(vectors) > sample:
        picked = vectors[np.sort(rng.choice(len(vectors), sample, replace=False))]
    centroids = picked[rng.choice(len(picked), num_centroids, replace=False)].copy()
    for _ in range(_ROUNDS):
        nearest = assign(picked, centroids)
        order = np.argsort(nearest, kind="stable")
        sizes = np.bincount(nearest, minlength=num_centroids)
        starts = np.cumsum(sizes) - sizes
        filled = sizes > 0
        sums = np.add.reduceat(picked[order], starts[filled], axis=0)
        centroids[filled] = sums / sizes[filled, None]
        largest = order[starts[sizes.argmax()] :]
        empty = np.flatnonzero(~filled)
        centroids[empty] = picked[largest[: len(empty)]]
    return centroids


def assign(vectors: FloatArray, centroids: FloatArray) -> npt.NDArray[np.int64]:
    """The nearest centroid of each vector, by Euclidean distance; `[num_vectors]`."""
    half_squares = 0.5 * np.square(centroids).sum(axis=1)
    step = max(1, _PRODUCTS_AT_ONCE // len(centroids))
    transposed = np.ascontiguousarray(centroids.T)
    nearest = [
        (vectors[start : start + step] @ transposed - half_squares).argmax(axis=1)
        for start in range(0, len(vectors), step)
    ]
    return np.concatenate(nearest)


def train_ivf(
    vectors: FloatArray, num_clusters: int, leaf_size: int
) -> dict[str, npt.NDArray[Any]]:
    """Partitions vectors into leaves of similar vectors.

    Clusters come from k-means; one that holds more than a leaf does is cut across the direction
    of the member that is farthest from its mean.

    Args:
        vectors: `[num_candidates, embedding_dim]`, at least one.
        num_clusters: clusters of k-means, at most `num_candidates`.
        leaf_size: candidates of a leaf, at most.

    Returns:
        `centroids` float32 `[num_leaves, embedding_dim]`, the mean of each leaf; `rows` int32
        `[num_leaves, leaf_size]`, -1 beyond the leaf's own.
    """
    centroids = k_means(vectors, num_clusters, _SAMPLE_PER_LEAF * num_clusters)
    nearest = assign(vectors, centroids)
    order = np.argsort(nearest, kind="stable")
    ends = np.cumsum(np.bincount(nearest, minlength=num_clusters))
    clusters = np.split(order, ends[:-1])
    leaves = [leaf for rows in clusters for leaf in _cut(vectors, rows, leaf_size)]
    rows = np.full((len(leaves), leaf_size), MISSING_ROW, np.int32)
    means = np.empty((len(leaves), vectors.shape[1]), np.float32)
    for number, leaf in enumerate(leaves):
        rows[number, : len(leaf)] = leaf
        means[number] = vectors[leaf].mean(axis=0)
    return {"centroids": means, "rows": rows}


def _cut(
    vectors: FloatArray, rows: npt.NDArray[np.int64], leaf_size: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Equal parts of a cluster, of `leaf_size` rows at most, each in row order."""
    num_parts = -(-len(rows) // leaf_size)
    if num_parts == 1:
        yield rows
    elif num_parts > 1:
        own = vectors[rows] - vectors[rows].mean(axis=0)
        along = own @ own[np.einsum("rd,rd->r", own, own).argmax()]
        middle = len(rows) * (num_parts // 2) // num_parts
        by_place = np.argsort(along, kind="stable")
        yield from _cut(vectors, np.sort(rows[by_place[:middle]]), leaf_size)
        yield from _cut(vectors, np.sort(rows[by_place[middle:]]), leaf_size)


class IvfSearch(partial_search.PartialSearch):
    """Scores the candidates of the leaves whose centroids are nearest (IVF, Jegou et al. 2011).

    A leaf is one contiguous block, padded to a fixed size, so that a query gathers a few wide
    blocks. Queries of a batch are answered a few at a time: memory is that of the leaves they
    look at.
    """

    def __init__(
        self,
        vectors: FloatArray,
        trained: Mapping[str, npt.NDArray[Any]],
        parameters: quality.SearchParameters,
        *,
        max_excluded: int = 1000,
    ) -> None:
        """Arranges the vectors by leaf.

        Args:
            vectors: `[num_candidates, embedding_dim]`, the vectors that `trained` was trained on.
            trained: arrays of `train_ivf`.
            parameters: number of leaves to look at.
            max_excluded: number of exclusions of a query that a longer search compensates.
        """
        super().__init__("ivf_search", exact_search.ExactSearch(vectors), parameters, max_excluded)
        rows, centroids = trained["rows"], trained["centroids"]
        self._num_leaves, self._leaf_size = rows.shape
        self.leaves = tf.Variable(self.stored(vectors, trained), trainable=False, name="leaves")
        self.rows = tf.Variable(rows, trainable=False, name="rows")
        self.centroids = tf.Variable(centroids, trainable=False, name="centroids")

    def stored(
        self, vectors: FloatArray, trained: Mapping[str, npt.NDArray[Any]]
    ) -> npt.NDArray[Any]:
        """The vectors by leaf, `[num_leaves, leaf_size, embedding_dim]`; zeros where one lacks."""
        rows = trained["rows"]
        real = (rows != MISSING_ROW)[:, :, None]
        return np.where(real, vectors[np.maximum(rows, 0)], np.float32(0.0))

    def near(
        self, embeddings: tf.Tensor, depth: tf.Tensor | int, parameters: quality.SearchParameters
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """See `PartialSearch.near`."""
        return self.look_at(embeddings, self.num_leaves_for(depth, parameters), depth)

    def num_leaves_for(
        self, depth: tf.Tensor | int, parameters: quality.SearchParameters
    ) -> tf.Tensor:
        """Leaves to look at: more than the parameters say if those hold too few candidates."""
        enough = -(-_LEAVES_PER_DEPTH * depth // self._leaf_size)
        return tf.minimum(tf.maximum(parameters.num_leaves_to_search, enough), self._num_leaves)

    def look_at(
        self, embeddings: tf.Tensor, num_leaves: tf.Tensor, depth: tf.Tensor | int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and rows `[batch, depth]`, in any order, of the nearest leaves' best candidates.

        Args:
            embeddings: `[batch, embedding_dim]`, all finite, at least one.
            num_leaves: leaves to look at, which hold at least `depth` places.
            depth: length of a list.
        """
        likeness = tf.matmul(embeddings, self.centroids, transpose_b=True)
        chosen = tf.math.top_k(likeness, num_leaves, sorted=False).indices
        leaves, rows = self.leaves.read_value(), self.rows.read_value()
        dim = embeddings.shape[1]

        def answer(query: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
            embedding, own = query
            vectors = tf.reshape(tf.gather(leaves, own), [-1, dim])
            own_rows = tf.reshape(tf.gather(rows, own), [-1])
            scores = tf.linalg.matvec(vectors, embedding)
            scores = tf.where(own_rows == MISSING_ROW, partial_search.NO_NEIGHBOUR, scores)
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
