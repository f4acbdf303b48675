"""EASE: a linear autoencoder in closed form (Steck 2019, Embarrassingly Shallow Autoencoders)."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tfrs_twotower.errors import DataError


def ease_weights(matrix: sparse.csr_matrix, l2: float) -> NDArray[np.float32]:
    """B of equation 8: P = (X'X + l2 I)^-1, B_ij = -P_ij / P_jj, and a diagonal of 0.

    Args:
        matrix: X, `[num_queries, num_candidates]` of 0 and 1.
        l2: weight of the penalty, > 0.

    Returns:
        `[num_candidates, num_candidates]` float32. Needs two float64 matrices of that order.

    Raises:
        DataError: the matrix cannot be inverted.
    """
    gram = np.asarray((matrix.T @ matrix).todense(), np.float64)
    gram[np.diag_indices_from(gram)] += l2
    try:
        inverse = np.linalg.inv(gram)
    except np.linalg.LinAlgError as cause:
        raise DataError(
            f"EASE: X'X + {l2} I cannot be inverted: {cause}; raise evaluate.ease_lambda, or "
            "leave ease out of evaluate.baselines."
        ) from cause
    weights = (-inverse / np.diag(inverse)[None, :]).astype(np.float32)
    weights[np.diag_indices_from(weights)] = 0.0
    return weights


class EaseScorer:
    """The query's profile times the weights."""

    def __init__(self, profiles: sparse.csr_matrix, weights: NDArray[np.float32]) -> None:
        self._profiles = profiles
        self._weights = weights

    def __call__(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """Scores, `[len(queries), num_candidates]`; 0 for a query without a profile."""
        return np.asarray(self._profiles[queries] @ self._weights)
