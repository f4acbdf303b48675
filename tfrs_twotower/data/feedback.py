"""Feedback: the words of a query's first passages are asked, too (Rocchio 1971).

Passages that BM25 ranks first say in other words what the query is about. No passage is known to be
relevant: the first few are taken for it (pseudo relevance feedback).
"""

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.data.postings import Lexical, Postings
from tfrs_twotower.ranking.order import MISSING_ROW, top_k_rows

PASSAGES = 5
"""First passages of a query whose words are taken."""
HEAVY_TERMS = 16
"""Terms that are taken of a passage, those that weigh most in it."""


class Feedback:
    """Adds the words of the first passages to those of a query.

    With n terms q_1 .. q_n of the query and its first passages d of BM25 score s(d), term t has
    the weight

        (1 - share) |{i: q_i = t}| + share n f(t) / sum f,   f(t) = idf(t) sum_{d: t in d} s(d),

    d with its heaviest terms only. The score of the query is then the weighted sum of its terms'
    scores. Without a passage that has a term, each term has weight 1.
    """

    def __init__(self, postings: Postings, share: float) -> None:
        """Prepares the terms of all passages.

        Args:
            postings: of the corpus.
            share: of the passages' words in the query, 0 to 1.
        """
        self._postings, self._share = postings, np.float32(share)
        self._heavy = postings.heaviest_terms(HEAVY_TERMS)

    def __call__(self, terms: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The terms of a query and of its first passages, each once, and their weights.

        Those of the query come first, in its order; then those of the passages, the best passage
        first, the heaviest term first.
        """
        scores = self._postings.scores(terms)
        (rows,) = top_k_rows(np.where(scores > 0, scores, -np.inf)[np.newaxis], PASSAGES)
        rows = rows[rows != MISSING_ROW]
        heavy = self._heavy[rows]
        points = scores[rows] / scores[rows].sum()
        fed = np.where(heavy >= 0, points[:, np.newaxis] * self._postings.rarities[heavy], 0.0)
        fed = (self._share * np.float32(len(terms)) * (fed / fed.sum())).astype(np.float32)
        kept = np.float32(1.0) - self._share if len(rows) else np.float32(1.0)
        found = np.concatenate([terms, heavy[heavy >= 0]])
        added = np.concatenate([np.full(len(terms), kept), fed[heavy >= 0]])
        distinct, first, place = np.unique(found, return_index=True, return_inverse=True)
        weights = np.zeros(len(distinct), np.float32)
        np.add.at(weights, place, added)
        order = np.argsort(first)
        return distinct[order].astype(np.int32), weights[order]


def scores_with_feedback(lexical: Lexical, terms: NDArray[np.int32]) -> NDArray[np.float32]:
    """What the words of an index add to the score of every candidate, `[num_candidates]`."""
    if not lexical.feedback:
        return lexical.postings.scores(terms)
    return lexical.postings.scores(*Feedback(lexical.postings, lexical.feedback)(terms))
