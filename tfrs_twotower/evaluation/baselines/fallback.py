"""What a baseline answers to a query that it knows nothing about."""

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation.ranking import Scorer


class FallbackScorer:
    """Another scorer's answers for the queries without a profile, such as popularity."""

    def __init__(self, scorer: Scorer, fallback: Scorer, has_profile: NDArray[np.bool_]) -> None:
        self._scorer = scorer
        self._fallback = fallback
        self._has_profile = has_profile

    def __call__(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """Scores, `[len(queries), num_candidates]`."""
        known = self._has_profile[queries]
        if known.all():
            return self._scorer(queries)
        return np.where(known[:, None], self._scorer(queries), self._fallback(queries))
