"""The trained cross-encoders as a reference: what reading both texts together would rank.

Nothing of it can be computed before a query arrives, so it is never served.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.layers.text_pairs import CrossEncoder
from tfrs_twotower.towers.cross_encoder import PairScores, PairTexts


class CrossEncoderScores:
    """A `ReScorer`: the mean of the models' scores, none of which has learned the test queries."""

    def __init__(
        self,
        texts: PairTexts,
        models: Sequence[CrossEncoder],
        queries: dict[str, NDArray[np.generic]],
        candidates: dict[str, NDArray[np.generic]],
    ) -> None:
        """Reads the texts of both sides.

        Args:
            texts: makes the pieces of texts.
            models: score pairs of texts.
            queries: raw features of all test queries, by name.
            candidates: raw features of the corpus, by name.
        """
        self._queries = texts.read("query", queries)
        self._candidates = texts.read("candidate", candidates)
        self._models = [PairScores(model) for model in models]

    def __call__(
        self, queries: NDArray[np.int64], rows: NDArray[np.int64], scores: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Final scores, `[chunk, n]` float32; see `ReScorer`."""
        del scores
        own = self._queries[queries]
        scored = [model.lists(own, rows, self._candidates) for model in self._models]
        mean: NDArray[np.float32] = np.mean(scored, axis=0, dtype=np.float32)
        return mean
