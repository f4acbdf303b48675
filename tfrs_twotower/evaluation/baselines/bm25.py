"""BM25 over all text features, as a baseline."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.closed_form.bm25 import Bm25Index


class Bm25Scorer:
    """BM25 of each query's text."""

    def __init__(self, index: Bm25Index, query_texts: Sequence[str]) -> None:
        self._index = index
        self._terms = index.terms(query_texts)

    def __call__(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """Scores, `[len(queries), num_candidates]` float32."""
        return np.stack([self._index.scores(self._terms[query]) for query in queries])
