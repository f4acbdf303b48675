"""BM25 over all text features (Robertson; the `lucene` variant of bm25s)."""

import logging
from collections.abc import Sequence

import bm25s
import numpy as np
import Stemmer
from numpy.typing import NDArray

logging.getLogger("bm25s").setLevel(logging.WARNING)  # the import of bm25s sets DEBUG

ANALYSER = "bm25s lucene, English stop words, Snowball stemmer"


class Bm25Index:
    """BM25 scores of the texts of a corpus.

    score = sum over query terms t of idf(t) tf / (tf + k1 (1 - b + b |d| / average |d|)), with
    idf(t) = log(1 + (N - df + .5) / (df + .5)). A repeated query term counts each time.
    """

    def __init__(self, texts: Sequence[str], *, k1: float, b: float) -> None:
        self._stemmer = Stemmer.Stemmer("english")
        self._num_candidates = len(texts)
        self._model = bm25s.BM25(method="lucene", k1=k1, b=b)
        terms = self.terms(texts)
        self._empty = not any(terms)
        if not self._empty:
            self._model.index(terms, show_progress=False)

    def terms(self, texts: Sequence[str]) -> list[list[str]]:
        """Returns the stemmed terms of each text, without stop words."""
        return bm25s.tokenize(
            list(texts),
            stopwords="en",
            stemmer=self._stemmer,
            return_ids=False,
            show_progress=False,
        )

    def scores(self, terms: list[str]) -> NDArray[np.float32]:
        """Returns `[num_candidates]` scores of one analysed query; 0 if no term is shared."""
        if self._empty or not terms:
            return np.zeros(self._num_candidates, np.float32)
        return np.asarray(self._model.get_scores(terms), np.float32)
