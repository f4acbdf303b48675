"""EASE, a linear autoencoder in closed form (Steck 2019), also as an inner product of factors."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh, svds
from threadpoolctl import threadpool_limits

from tfrs_twotower.closed_form.linear_models import inverse_of, solve

_MIN_EIGENVALUE_SHARE = 1e-12
"""Eigenvalues below this share of the largest are rounding errors."""


def binary_matrix(
    rows: NDArray[np.integer], columns: NDArray[np.integer], num_rows: int, num_columns: int
) -> sparse.csr_matrix:
    """Returns `[num_rows, num_columns]` float32, 1 for every pair, however often it occurs."""
    matrix = sparse.csr_matrix(
        (np.ones(len(rows), np.float32), (rows, columns)), shape=(num_rows, num_columns)
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def co_occurrences(matrix: sparse.csr_matrix) -> NDArray[np.float32]:
    """Returns X'X: how many queries chose both candidates (exact below 2^24)."""
    return np.asarray((matrix.T @ matrix).todense(), np.float32)


def ease_weights(gram: NDArray[np.float32], l2: float) -> NDArray[np.float32]:
    """Computes B of equation 8: P = (X'X + l2 I)^-1, B_ij = -P_ij / P_jj, with a diagonal of 0.

    Args:
        gram: `co_occurrences` of the interactions.
        l2: weight of the penalty, > 0.

    Returns:
        `[num_candidates, num_candidates]` float32. The computation needs 16 bytes for each pair.

    Raises:
        DataError: the matrix cannot be inverted.
    """
    system = np.array(gram, np.float64, order="F")
    system[np.diag_indices_from(system)] += l2
    inverse = inverse_of(system, f"EASE: X'X + {l2} I")
    weights = inverse.astype(np.float32)
    weights /= -inverse.diagonal()[None, :].astype(np.float32)
    weights[np.diag_indices_from(weights)] = 0.0
    return weights


class LinearFactors(NamedTuple):
    """Two vectors of each candidate, whose products are the weights B of a linear model.

    Attributes:
        history: `[num_candidates, rank]` float32, rows of B V, which are added up over a history.
        candidates: `[num_candidates, rank]` float32, rows of V, which are multiplied with the sum.
    """

    history: NDArray[np.float32]
    candidates: NDArray[np.float32]


def ease_factors(
    chosen: sparse.csr_matrix,
    *,
    l2: float,
    rank: int,
    dropout: float = 0.0,
    diagonal: float = 0.0,
) -> LinearFactors:
    """Fits EASE, or with a dropout or a diagonal RDLAE, and reduces it to a rank.

    The rank is at most the number of candidates. A direction in which no query of the fit has a
    score is set to 0, and so are both vectors of a candidate that nobody chose.

    Args:
        chosen: `[num_queries, num_candidates]` of zeros and ones, X.
        l2: weight of the penalty, > 0.
        rank: dimension of the vectors.
        dropout: p of `closed_form.linear_models`.
        diagonal: xi of the same.

    Raises:
        DataError: the matrix cannot be inverted.
    """
    num_candidates = chosen.shape[1]
    if dropout or diagonal:
        model = solve(chosen, l2=l2, dropout=dropout).model(diagonal=diagonal)
        weights = model(sparse.identity(num_candidates, np.float32, "csr")).astype(np.float64)
    else:
        weights = ease_weights(co_occurrences(chosen), l2).astype(np.float64)
    rank = min(rank, num_candidates)
    if not weights.any():  # no two candidates were ever chosen together
        nothing = np.zeros((num_candidates, rank), np.float32)
        return LinearFactors(nothing, nothing)
    values, vectors = _first_eigenvectors(chosen.astype(np.float64), weights, rank)
    largest = np.abs(vectors).argmax(axis=0)
    vectors *= np.sign(vectors[largest, np.arange(rank)])  # an eigenvector may have either sign
    vectors[:, values <= _MIN_EIGENVALUE_SHARE * values.max()] = 0.0
    vectors[np.asarray(chosen.sum(axis=0)).ravel() == 0] = 0.0
    return LinearFactors((weights @ vectors).astype(np.float32), vectors.astype(np.float32))


def truncated_factors(chosen: sparse.csr_matrix, *, l2: float, rank: int) -> LinearFactors:
    """EASE on the leading singular directions of the interactions, which inverts no matrix.

    With X cut to U diag(s) V' of a rank, P = (X'X + l2 I)^-1 is (I - V diag(g) V') / l2 with
    g = s^2 / (s^2 + l2), so that B_ij = -P_ij / P_jj is row i of V diag(g) times row j of V / p,
    p_j = 1 - sum_r g_r V_jr^2. Time and memory grow with the interactions and the rank only. A
    candidate has a weight for itself, which matters where repeats are ranked.

    Args:
        chosen: `[num_queries, num_candidates]` of zeros and ones, X.
        l2: weight of the penalty, > 0.
        rank: dimension of the vectors; at most the smaller side of X.
    """
    num_candidates, rank = chosen.shape[1], min(rank, *chosen.shape)
    if not chosen.nnz:
        nothing = np.zeros((num_candidates, rank), np.float32)
        return LinearFactors(nothing, nothing)
    if 2 * rank >= min(chosen.shape):  # Lanczos needs more dimensions than vectors
        _, values, rows = np.linalg.svd(chosen.toarray().astype(np.float64), full_matrices=False)
    else:
        start = np.random.default_rng(0).random(min(chosen.shape))
        with threadpool_limits(1, "blas"):
            _, values, rows = svds(chosen.astype(np.float64), k=rank, v0=start)
    first = np.argsort(-values, kind="stable")[:rank]
    values, vectors = values[first], rows[first].T
    largest = np.abs(vectors).argmax(axis=0)
    vectors *= np.sign(vectors[largest, np.arange(rank)])  # a singular vector may have either sign
    vectors[np.asarray(chosen.sum(axis=0)).ravel() == 0] = 0.0
    kept = values**2 / (values**2 + l2)
    own = 1.0 - np.square(vectors) @ kept
    candidates = vectors / own[:, None]
    return LinearFactors((vectors * kept).astype(np.float32), candidates.astype(np.float32))


def _first_eigenvectors(
    chosen: sparse.csr_matrix, weights: NDArray[np.float64], rank: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the largest eigenvalues of (XB)'(XB), descending, and their vectors in columns."""
    num_candidates = len(weights)
    if 2 * rank >= num_candidates:  # Lanczos needs more dimensions than vectors
        scores = chosen @ weights
        values, vectors = np.linalg.eigh(scores.T @ scores)
    else:

        def multiply(vector: NDArray[np.float64]) -> NDArray[np.float64]:
            scores = chosen @ (weights @ vector)
            return (chosen.T @ scores) @ weights

        operator = LinearOperator((num_candidates,) * 2, matvec=multiply, dtype=np.float64)
        start = np.random.default_rng(0).random(num_candidates)
        # Hundreds of products with single vectors, between which more threads wait busily.
        with threadpool_limits(1, "blas"):
            values, vectors = eigsh(operator, k=rank, v0=start)
    first = np.argsort(-values, kind="stable")[:rank]
    return values[first], vectors[:, first]
