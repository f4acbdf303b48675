"""Partitions of vectors: k-means, the same for the same vectors."""

import numpy as np
import numpy.typing as npt

from tfrs_twotower.index.exact import FloatArray

_PRODUCTS_AT_ONCE = 1 << 25
_ROUNDS = 10
_SEED = 0


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
