"""First stages that search words: BM25 alone, and BM25 with the towers' vectors.

They take the place of a `Search`, whose first argument is then what `asked` makes of a query.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfrs_twotower.data.postings import COSINE_MINIMUM, LEAST_DEPTH, Lexical
from tfrs_twotower.data.raw_inputs import RawBatch
from tfrs_twotower.index import answers
from tfrs_twotower.index.exact_search import ExactSearch
from tfrs_twotower.index.restricts import Permits
from tfrs_twotower.layers.feedback import Feedback
from tfrs_twotower.layers.lexical import LexicalScores, Permitted, Scored, Terms
from tfrs_twotower.ranking.order import LOWEST_SCORE, MISSING_ROW, FloatArray, RowArray, overlaps


class Asked(NamedTuple):
    """A batch of queries, as searchers of words take it."""

    embeddings: tf.Tensor
    """`[batch, embedding_dim]` float32."""
    terms: tf.Tensor
    """`[batch, n]` int32; see `layers.lexical.Terms`."""
    weights: tf.Tensor | None
    """`[batch, n]` float32 of the terms; None weighs all alike."""


class LexicalSearch(tf.Module):
    """Exact BM25. A candidate that shares no term with the query is not an answer."""

    def __init__(self, lexical: Lexical, words_file: Path | None = None) -> None:
        """Keeps words and postings; see `layers.lexical.Terms` for the file."""
        super().__init__(name="lexical_search")
        self.terms = Terms(lexical.postings, words_file)
        self.words = LexicalScores(lexical.postings)
        self._feedback: Feedback | None = None
        if lexical.feedback:
            self._feedback = Feedback(lexical.postings, lexical.feedback)
        self._inputs = lexical.inputs

    @property
    def num_candidates(self) -> int:
        """Candidates in the corpus."""
        return self.words.num_candidates

    def asked(self, embeddings: tf.Tensor, raw: RawBatch) -> Asked:
        """What the search takes of queries: embeddings, and raw features of the same queries."""
        return self.asked_terms(embeddings, self.terms.of_inputs(raw, self._inputs))

    def asked_terms(self, embeddings: tf.Tensor, terms: tf.Tensor) -> Asked:
        """The same from terms, as `layers.lexical.Terms` gives them."""
        if self._feedback is None:
            return Asked(embeddings, terms, None)
        return Asked(embeddings, *self._feedback(self.words, terms))

    def search(
        self,
        asked: Asked,
        k: int,
        excluded_rows: tf.Tensor | None = None,
        permits: Permits | None = None,
        *,
        ordered: bool = True,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """See `answers.Search.search`; the lists are always ordered."""
        del ordered
        return self._found(asked, k, excluded_rows, permits)

    def score(self, asked: Asked, rows: tf.Tensor) -> tf.Tensor:
        """See `answers.Search.score`; 0 for a candidate that shares no term."""
        return self._search_words(asked, 1, listed=rows).listed

    def _found(
        self, asked: Asked, k: int, excluded: tf.Tensor | None, permits: Permits | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        found = self._search_words(asked, k, excluded, permits)
        return found.scores, found.rows

    def _search_words(
        self,
        asked: Asked,
        k: int,
        excluded: tf.Tensor | None = None,
        permits: Permits | None = None,
        listed: tf.Tensor | None = None,
    ) -> Scored:
        permitted = None
        if permits is not None:
            permitted = Permitted(
                permits.restricts,
                lambda place: permits.of_queries(place[None]).of_range(0, self.num_candidates)[0],
            )
        return self.words.search(asked.terms, k, excluded, permitted, listed, asked.weights)


class HybridSearch(LexicalSearch):
    """A weighted sum of the towers' score and BM25 (convex combination, Bruch et al. 2023).

    score = w (cosine + 1) / (best cosine + 1) + (1 - w) BM25 / best BM25, the best of each over the
    whole corpus, so that exclusions and restricts change no score. Each side proposes its first
    candidates, at least `LEAST_DEPTH`; every proposed candidate gets both of its scores.
    """

    def __init__(
        self, dense: answers.Search, lexical: Lexical, words_file: Path | None = None
    ) -> None:
        """Joins a search of vectors with one of words."""
        super().__init__(lexical, words_file)
        assert lexical.dense_weight is not None
        self.dense = dense
        self._weight = lexical.dense_weight

    def _found(
        self, asked: Asked, k: int, excluded: tf.Tensor | None, permits: Permits | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        depth = min(max(k, LEAST_DEPTH), self.num_candidates)
        near, near_rows = self.dense.search(
            asked.embeddings, depth, excluded, permits, ordered=False
        )
        found = self._search_words(asked, depth, excluded, permits, near_rows)
        again = answers.contains(tf.sort(near_rows, axis=1), found.rows)
        found_rows = tf.where(again, MISSING_ROW, found.rows)
        rows = tf.concat([near_rows, found_rows], axis=1)
        dense = tf.concat([near, self._near(asked, found_rows)], axis=1)
        words = tf.concat([found.listed, found.scores], axis=1)
        nearest = self._nearest(asked, near, excluded, permits)
        scores = self._sum(dense, nearest, words, found.best)
        return answers.order(tf.where(rows == MISSING_ROW, LOWEST_SCORE, scores), rows, k)

    def score(self, asked: Asked, rows: tf.Tensor) -> tf.Tensor:
        """See `answers.Search.score`."""
        found = self._search_words(asked, 1, listed=rows)
        nearest = self.dense.search(asked.embeddings, 1)[0][:, 0]
        return self._sum(self._near(asked, rows), nearest, found.listed, found.best)

    def _near(self, asked: Asked, rows: tf.Tensor) -> tf.Tensor:
        """The towers' scores of candidates; any number at rows below 0."""
        return self.dense.score(asked.embeddings, tf.maximum(rows, 0))

    def _nearest(
        self,
        asked: Asked,
        near: tf.Tensor,
        excluded_rows: tf.Tensor | None,
        permits: Permits | None,
    ) -> tf.Tensor:
        """The towers' best score in the whole corpus, `[batch]`."""
        best = tf.reduce_max(near, axis=1)
        if excluded_rows is not None:
            gone = tf.where(
                excluded_rows == MISSING_ROW, LOWEST_SCORE, self._near(asked, excluded_rows)
            )
            best = tf.maximum(best, tf.reduce_max(gone, axis=1))
        if permits is None:
            return best
        return tf.cond(
            permits.restricts, lambda: self.dense.search(asked.embeddings, 1)[0][:, 0], lambda: best
        )

    def _sum(
        self, dense: tf.Tensor, nearest: tf.Tensor, words: tf.Tensor, best: tf.Tensor
    ) -> tf.Tensor:
        """The weighted sum `[batch, n]` of scores `[batch, n]`, each over its best `[batch]`."""
        near = tf.math.divide_no_nan(
            dense - COSINE_MINIMUM, tf.maximum(nearest - COSINE_MINIMUM, 0.0)[:, None]
        )
        shared = tf.math.divide_no_nan(words, best[:, None])
        return self._weight * near + (1.0 - self._weight) * shared


def first_stage(
    dense: answers.Search, lexical: Lexical | None, words_file: Path | None = None
) -> Any:
    """The searcher of an index: of vectors, of words, or of both.

    Args:
        dense: the searcher of vectors.
        lexical: the search of words, if there is one.
        words_file: see `layers.lexical.Terms`.
    """
    if lexical is None:
        return dense
    if lexical.dense_weight is None:
        return LexicalSearch(lexical, words_file)
    return HybridSearch(dense, lexical, words_file)


def asked(search: Any, embeddings: tf.Tensor, raw: RawBatch) -> Any:
    """What a searcher takes of queries: their embeddings, or an `Asked`."""
    return search.asked(embeddings, raw) if isinstance(search, LexicalSearch) else embeddings


class ExactTextLists:
    """The lists of an index with exact search of its vectors, to compare others with."""

    def __init__(self, lexical: Lexical, vectors: FloatArray) -> None:
        """Makes the searcher; `vectors` are those of the corpus, in row order."""
        search = first_stage(ExactSearch(vectors), lexical)
        self._search = tf.function(
            lambda embeddings, raw, k: search.search(asked(search, embeddings, raw), k),
            autograph=False,
            reduce_retracing=True,
        )
        self._score = tf.function(
            lambda embeddings, raw, rows: search.score(
                asked(search, embeddings, raw), tf.maximum(rows, 0)
            ),
            autograph=False,
            reduce_retracing=True,
        )
        self._inputs = lexical.inputs

    def overlaps(
        self, embeddings: FloatArray, raw: dict[str, npt.NDArray[Any]], returned: RowArray
    ) -> npt.NDArray[np.float64]:
        """Overlap@k of each query; see `ranking.order.overlaps`.

        Args:
            embeddings: `[num_queries, embedding_dim]`.
            raw: raw features of the same queries.
            returned: `[num_queries, k]` rows; -1 where a list is shorter.
        """
        vectors = tf.constant(embeddings)
        texts = {name: tf.constant(raw[name]) for name in self._inputs}
        exact_scores, exact = self._search(vectors, texts, returned.shape[1])
        scores = self._score(vectors, texts, tf.constant(returned, tf.int32)).numpy()
        scores = np.where(returned == MISSING_ROW, LOWEST_SCORE, scores)
        return overlaps(returned, scores, exact.numpy(), exact_scores.numpy())
