"""EASE as an inner product: a vector for each candidate in a history, one for each that is scored.

EASE scores a history h as h B. With the first r eigenvectors V of (XB)'(XB), h B V V' is the
projection of h B that loses least on the queries X it was fitted on: (h B V) is the query's vector,
the rows of V are the candidates'.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh

from tfrs_twotower.closed_form.ease import co_occurrences, ease_weights

_LEAST_SHARE = 1e-12
"""Of the largest eigenvalue; below it, a direction is rounding."""


class EaseFactors(NamedTuple):
    """Two vectors of each candidate.

    Attributes:
        history: `[num_candidates, rank]` float32, rows of B V: added up over a history.
        candidates: `[num_candidates, rank]` float32, rows of V: what a history's sum meets.
    """

    history: NDArray[np.float32]
    candidates: NDArray[np.float32]


def ease_factors(chosen: sparse.csr_matrix, *, l2: float, rank: int) -> EaseFactors:
    """Fits EASE and cuts it to a rank.

    A rank above the number of candidates is that number; a direction in which no query of the fit
    has a score is 0. So are both vectors of a candidate that nobody chose.

    Args:
        chosen: `[num_queries, num_candidates]` of zeros and ones, X.
        l2: weight of the penalty, > 0.
        rank: dimension of the vectors.

    Raises:
        DataError: the matrix cannot be inverted.
    """
    weights = ease_weights(co_occurrences(chosen), l2).astype(np.float64)
    num_candidates = len(weights)
    rank = min(rank, num_candidates)
    if not weights.any():  # no two candidates were ever chosen together
        nothing = np.zeros((num_candidates, rank), np.float32)
        return EaseFactors(nothing, nothing)
    values, vectors = _first_eigenvectors(chosen.astype(np.float64), weights, rank)
    largest = np.abs(vectors).argmax(axis=0)
    vectors *= np.sign(vectors[largest, np.arange(rank)])  # both signs are eigenvectors
    vectors[:, values <= _LEAST_SHARE * values.max()] = 0.0
    vectors[np.asarray(chosen.sum(axis=0)).ravel() == 0] = 0.0
    return EaseFactors((weights @ vectors).astype(np.float32), vectors.astype(np.float32))


def _first_eigenvectors(
    chosen: sparse.csr_matrix, weights: NDArray[np.float64], rank: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Largest eigenvalues of (XB)'(XB), falling, and their vectors in columns."""
    num_candidates = len(weights)
    if 2 * rank >= num_candidates:  # Lanczos needs room
        scores = chosen @ weights
        values, vectors = np.linalg.eigh(scores.T @ scores)
    else:

        def multiply(vector: NDArray[np.float64]) -> NDArray[np.float64]:
            scores = chosen @ (weights @ vector)
            return (chosen.T @ scores) @ weights

        operator = LinearOperator((num_candidates,) * 2, matvec=multiply, dtype=np.float64)
        start = np.random.default_rng(0).random(num_candidates)
        values, vectors = eigsh(operator, k=rank, v0=start)
    first = np.argsort(-values, kind="stable")[:rank]
    return values[first], vectors[:, first]
