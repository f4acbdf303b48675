"""EASE as a baseline: each query's profile times the weights."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


class EaseScorer:
    """The query's profile times the weights."""

    def __init__(self, profiles: sparse.csr_matrix, weights: NDArray[np.float32]) -> None:
        self._profiles = profiles
        self._weights = weights

    def __call__(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """Scores, `[len(queries), num_candidates]`; 0 for a query without a profile."""
        return np.asarray(self._profiles[queries] @ self._weights)
