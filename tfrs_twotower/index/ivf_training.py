"""Training a partitioned index: k-means, and partitions of bounded size."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tfrs_twotower.index.exact import MISSING_ROW, FloatArray
from tfrs_twotower.index.k_means import assign, k_means

_SAMPLE_PER_LEAF = 40


def train_ivf(
    vectors: FloatArray, num_clusters: int, leaf_size: int
) -> dict[str, npt.NDArray[Any]]:
    """Partitions vectors into leaves that are alike inside.

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
