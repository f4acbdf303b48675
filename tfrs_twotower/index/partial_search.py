"""Approximate searches, which look at a part of the corpus, made safe to serve.

The search asks for more neighbours than it returns and drops those that a request leaves out.
Only the queries whose list comes out short fall back to exact search.
"""

from dataclasses import dataclass

import tensorflow as tf

from tfrs_twotower.index import answers, exact_search, quality, restricts
from tfrs_twotower.ranking.order import LOWEST_SCORE, MISSING_ROW

NO_NEIGHBOUR = float("-inf")
"""Score that `near` gives a place without a candidate."""

RESTRICTED_OVERSAMPLING = 4
"""Factor by which the list of neighbours is longer in a batch with restricts."""


@dataclass(frozen=True)
class Filtered:
    """The neighbours that a request does not leave out."""

    scores: tf.Tensor
    """`[batch, n]`, in any order."""
    rows: tf.Tensor
    """`[batch, n]`; -1 for a neighbour that was dropped."""
    short: tf.Tensor
    """bool `[batch]`: fewer neighbours are left than the corpus could give."""


class PartialSearch(tf.Module):
    """Adds exclusions, restricts and complete lists to `near`, which handles none of them."""

    is_exact = False

    def __init__(
        self,
        name: str,
        exact: exact_search.ExactSearch,
        parameters: quality.SearchParameters,
        max_excluded: int,
    ) -> None:
        """Keeps the parts that every approximate search has.

        Args:
            name: name of the module.
            exact: exact search over the same corpus.
            parameters: how much of the corpus one search looks at.
            max_excluded: number of exclusions of a query that a longer list compensates.
        """
        super().__init__(name=name)
        self.exact = exact
        self._parameters = parameters
        self._max_excluded = max_excluded

    @property
    def num_candidates(self) -> int:
        """Candidates in the corpus."""
        return self.exact.num_candidates

    def near(
        self, embeddings: tf.Tensor, depth: tf.Tensor | int, parameters: quality.SearchParameters
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Finds neighbours by looking at a part of the corpus.

        Args:
            embeddings: `[batch, embedding_dim]`, all finite, at least one.
            depth: number of neighbours to find, at most `num_candidates`.
            parameters: how much to look at; the amounts may be scalar int32 tensors.

        Returns:
            Scores and rows `[batch, n]` in any order. A place without a neighbour has a score that
            is not finite, and its row must not be read.
        """
        raise NotImplementedError

    def search(
        self,
        embeddings: tf.Tensor,
        k: int,
        excluded_rows: tf.Tensor | None = None,
        permits: restricts.Permits | None = None,
        parameters: quality.SearchParameters | None = None,
        *,
        ordered: bool = True,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """See `Search.search`; `parameters` replace the search's own for this call.

        The usual request leaves nothing out and finds enough neighbours. It skips the checks that
        other requests need, because they cost more than the search of one query.
        """
        depth = min(k, self.num_candidates)
        scores, rows, complete = self.search_usual(
            embeddings, depth, excluded_rows, permits, parameters or self._parameters
        )
        finish = answers.order if ordered or depth < k else _keep_order
        return tf.cond(
            complete,
            lambda: finish(scores, rows, k),
            lambda: self._search_carefully(embeddings, k, excluded_rows, permits, parameters),
        )

    def search_usual(
        self,
        embeddings: tf.Tensor,
        depth: int,
        excluded_rows: tf.Tensor | None,
        permits: restricts.Permits | None,
        parameters: quality.SearchParameters,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The answer of a request that leaves nothing out: scores, rows, and whether it is one.

        It is none if the request leaves something out, if an embedding is not finite, or if fewer
        than `depth` neighbours of a query were found.
        """
        scores, rows = tf.cond(
            _is_unrestricted(embeddings, excluded_rows, permits),
            lambda: self.near(embeddings, depth, parameters),
            lambda: (tf.fill([1, depth], NO_NEIGHBOUR), tf.fill([1, depth], MISSING_ROW)),
        )
        all_finite = tf.reduce_all(tf.math.is_finite(scores))
        return scores, rows, tf.logical_and(tf.shape(rows)[1] == depth, all_finite)

    def _search_carefully(
        self,
        embeddings: tf.Tensor,
        k: int,
        excluded_rows: tf.Tensor | None,
        permits: restricts.Permits | None,
        parameters: quality.SearchParameters | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        filtered = self.filter_near(embeddings, k, excluded_rows, permits, parameters)
        scores, rows = answers.order(filtered.scores, filtered.rows, k)

        def answer_exactly() -> tuple[tf.Tensor, tf.Tensor]:
            places = tf.where(filtered.short)
            queries = places[:, 0]
            exact_scores, exact_rows = self.exact.search(
                tf.gather(embeddings, queries),
                k,
                None if excluded_rows is None else tf.gather(excluded_rows, queries),
                None if permits is None else permits.of_queries(queries),
            )
            return (
                tf.tensor_scatter_nd_update(scores, places, exact_scores),
                tf.tensor_scatter_nd_update(rows, places, exact_rows),
            )

        return tf.cond(tf.reduce_any(filtered.short), answer_exactly, lambda: (scores, rows))

    def score(self, embeddings: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """See `Search.score`."""
        return self.exact.score(embeddings, rows)

    def filter_near(
        self,
        embeddings: tf.Tensor,
        k: int,
        excluded_rows: tf.Tensor | None = None,
        permits: restricts.Permits | None = None,
        parameters: quality.SearchParameters | None = None,
    ) -> Filtered:
        """Asks for enough neighbours and drops those that the request leaves out; see `search`."""
        if excluded_rows is None:
            excluded_rows = tf.fill([tf.shape(embeddings)[0], 0], MISSING_ROW)
        excluded = tf.sort(excluded_rows, axis=1)
        num_excluded = answers.count_distinct(excluded)
        most_excluded = tf.reduce_max(tf.concat([num_excluded, [0]], axis=0))
        depth = k + tf.minimum(most_excluded, self._max_excluded)
        if permits is not None:
            depth = tf.where(permits.restricts, RESTRICTED_OVERSAMPLING * depth, depth)
        depth = tf.minimum(depth, self.num_candidates)
        # One query that is not finite must not fail the batch.
        sound = tf.reduce_all(tf.math.is_finite(embeddings), axis=1)
        finite = tf.where(sound[:, None], embeddings, 0.0)
        scores, rows = tf.cond(
            tf.shape(embeddings)[0] > 0,
            lambda: self.near(finite, depth, parameters or self._parameters),
            lambda: (tf.zeros([0, depth]), tf.zeros([0, depth], tf.int32)),
        )
        keep = tf.logical_and(tf.math.is_finite(scores), ~answers.contains(excluded, rows))
        keep = tf.logical_and(keep, sound[:, None])
        if permits is not None:
            keep = tf.logical_and(keep, permits.of_rows(rows))
        num_kept = tf.reduce_sum(tf.cast(keep, tf.int32), axis=1)
        short = num_kept < tf.minimum(k, self.num_candidates - num_excluded)
        short = tf.logical_and(sound, short)
        if permits is not None:
            short = tf.logical_and(short, ~permits.closed)
        return Filtered(
            tf.where(keep, scores, LOWEST_SCORE), tf.where(keep, rows, MISSING_ROW), short
        )


def _is_unrestricted(
    embeddings: tf.Tensor, excluded_rows: tf.Tensor | None, permits: restricts.Permits | None
) -> tf.Tensor:
    """Whether a batch has queries, all of them finite, and none excludes or restricts anything."""
    has_queries = tf.shape(embeddings)[0] > 0
    plain = tf.logical_and(has_queries, tf.reduce_all(tf.math.is_finite(embeddings)))
    if excluded_rows is not None:
        plain = tf.logical_and(plain, tf.reduce_all(excluded_rows == MISSING_ROW))
    if permits is not None:
        plain = tf.logical_and(plain, ~permits.restricts)
    return plain


def _keep_order(scores: tf.Tensor, rows: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Complete lists in the order that the search gave them."""
    batch = scores.shape[0]
    return tf.ensure_shape(scores, [batch, k]), tf.ensure_shape(rows, [batch, k])
