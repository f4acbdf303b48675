"""Latent semantic analysis (Deerwester et al. 1990), and a linear map from queries to candidates.

Both are solved at once, without training: the directions in which the texts of a corpus differ
most, and the matrix that moves queries closest to their candidates.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import svds
from threadpoolctl import threadpool_limits

_LEAST_SINGULAR_VALUE = 1e-6


def leading_directions(rows: sparse.csr_matrix, dim: int, *, seed: int) -> NDArray[np.float32]:
    """The right singular vectors V of the largest singular values: rows = U S V'.

    Args:
        rows: `[num_texts, num_columns]`.
        dim: number of vectors.
        seed: seed of the start of the iteration (Lanczos with restarts, as in ARPACK).

    Returns:
        `[num_columns, n]`, largest singular value first; n is `dim`, or the rank of the rows if
        that is smaller. The largest entry of each vector is positive, so that signs do not depend
        on the start.
    """
    smaller = min(rows.shape)
    # The order of sums depends on the number of threads, and the last bits on the order.
    with threadpool_limits(1, "blas"):
        if dim < smaller:
            start = np.random.default_rng(seed).standard_normal(smaller)
            _, values, right = svds(rows.astype(np.float64), k=dim, v0=start)
        else:
            values, right = _all_directions(rows.astype(np.float64))
    order = np.argsort(-values, kind="stable")
    kept = order[values[order] > _LEAST_SINGULAR_VALUE * values.max(initial=0.0)][:dim]
    directions = right[kept].T
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])]
    return np.asarray(directions * np.sign(largest), np.float32)


def _all_directions(rows: sparse.csr_matrix) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """All singular values and right singular vectors `[n, num_columns]`, by the smaller Gram."""
    tall = rows.shape[0] >= rows.shape[1]
    gram = (rows.T @ rows if tall else rows @ rows.T).toarray()
    squares, vectors = np.linalg.eigh(gram)
    values = np.sqrt(np.maximum(squares, 0.0))
    if tall:
        return values, vectors.T
    return values, (rows.T @ vectors / np.maximum(values, np.finfo(np.float64).tiny)).T


def ridge_map(
    queries: NDArray[np.float32],
    candidates: NDArray[np.float32],
    weights: NDArray[np.float32],
    penalty: float,
) -> NDArray[np.float32]:
    """The matrix M that minimises sum_i w_i |q_i M - d_i|^2 + penalty |M - I|^2.

    M = (Q'WQ + penalty I)^-1 (Q'WD + penalty I). A large penalty leaves queries where they are.

    Args:
        queries: `[num_pairs, dim]`.
        candidates: `[num_pairs, dim]`, the candidate of each pair.
        weights: `[num_pairs]`, not negative.
        penalty: above 0.

    Returns:
        `[dim, dim]`.
    """
    weighted = np.asarray(queries * weights[:, np.newaxis], np.float64).T
    shrinkage = penalty * np.eye(queries.shape[1])
    with threadpool_limits(1, "blas"):
        solved = np.linalg.solve(weighted @ queries + shrinkage, weighted @ candidates + shrinkage)
    return np.asarray(solved, np.float32)
