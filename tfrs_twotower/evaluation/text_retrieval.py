"""Retrieval by words, and by words and vectors, as `index.lexical` serves it."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.closed_form.bm25 import words_of
from tfrs_twotower.data.feedback import PASSAGES, Feedback
from tfrs_twotower.data.postings import COSINE_MINIMUM, LEAST_DEPTH, Lexical, Postings
from tfrs_twotower.evaluation.corpus_ranking import EmbeddingScorer, PooledScorer, Scorer
from tfrs_twotower.evaluation.evaluated_data import EvaluationInputs
from tfrs_twotower.ranking.order import top_k_rows

BM25_MINIMUM = 0.0
Mask = Callable[[NDArray[np.floating]], NDArray[np.floating]]
"""Writes -inf at the candidates of `[chunk, num_candidates]` that may not be ranked."""


class WordScorer:
    """BM25 of each query's text by the postings and the table of words that are served."""

    def __init__(self, postings: Postings, texts: Sequence[str], feedback: float = 0.0) -> None:
        """Analyses the texts of all queries; see `Lexical` for the feedback."""
        self._postings = postings
        self._terms = [postings.terms_of(words_of(text)) for text in texts]
        self._feedback = Feedback(postings, feedback) if feedback else None

    def __call__(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """Scores, `[len(queries), num_candidates]` float32."""
        return np.stack([self._of_query(self._terms[query]) for query in queries])

    def _of_query(self, terms: NDArray[np.int32]) -> NDArray[np.float32]:
        if self._feedback is None:
            return self._postings.scores(terms)
        return self._postings.scores(*self._feedback(terms))


def normalised(
    scores: NDArray[np.floating], minimum: float | NDArray[np.floating]
) -> NDArray[np.float32]:
    """(score - minimum) / (best score of the query - minimum); 0 if no score exceeds it."""
    shifted = np.asarray(scores, np.float32) - np.asarray(minimum, np.float32)
    best = shifted.max(axis=1, keepdims=True)
    return np.divide(shifted, best, out=np.zeros_like(shifted), where=best > 0)


class TextRetrieval:
    """The first stage of an index that searches words."""

    def __init__(self, lexical: Lexical, dense: Scorer, texts: Sequence[str]) -> None:
        """Joins the scorer of the towers with that of the words.

        Args:
            lexical: the search of words of the index.
            dense: scorer with cosine scores.
            texts: of all queries.
        """
        self._weight = lexical.dense_weight
        self._dense = dense
        self._words = WordScorer(lexical.postings, texts, lexical.feedback)

    def pooled(self, queries: NDArray[np.int64], mask: Mask, depth: int) -> NDArray[np.floating]:
        """Scores of the candidates that are proposed to lists of this length; -inf elsewhere.

        Args:
            queries: `[chunk]` positions.
            mask: leaves out what may not be ranked.
            depth: length of the lists.

        Returns:
            `[chunk, num_candidates]`.
        """
        words = self._words(queries)
        found = mask(words.copy())
        found[found <= 0] = -np.inf  # shares no word with the query
        if self._weight is None:
            return found
        dense = normalised(self._dense(queries), COSINE_MINIMUM)
        weight = np.float32(self._weight)
        fused = weight * dense + (np.float32(1.0) - weight) * normalised(words, BM25_MINIMUM)
        proposed = np.zeros((len(queries), dense.shape[1] + 1), bool)
        for scores in (mask(dense), found):
            rows = top_k_rows(scores, max(depth, LEAST_DEPTH))
            # A missing row, -1, is the column behind the last candidate.
            np.put_along_axis(proposed, rows, True, axis=1)
        return np.where(proposed[:, :-1], fused, -np.inf)


def retrieval_of(inputs: EvaluationInputs) -> Scorer | PooledScorer:
    """The first stage, exact, for the test queries."""
    dense = EmbeddingScorer(inputs.test.embeddings, inputs.corpus.vectors)
    if inputs.lexical is None:
        return dense
    return TextRetrieval(inputs.lexical, dense, inputs.test.texts or [])


def in_words(lexical: Lexical | None) -> str:
    """What the first stage scores by, for the `protocol` of a report."""
    if lexical is None:
        return "inner product of the towers' vectors, all candidates"
    words = f"BM25 (k1 {lexical.postings.k1:g}, b {lexical.postings.b:g})"
    if lexical.feedback:
        words += f" of the query and, at {lexical.feedback:g}, of its first {PASSAGES} passages"
    if lexical.dense_weight is None:
        return f"{words}; a candidate without a word of the query is left out"
    return (
        f"{lexical.dense_weight:g} times the towers' score and {1 - lexical.dense_weight:g} times "
        f"{words}, each over the best of the query; the candidates that either side proposes"
    )
