"""Lists of a corpus that is too large to score it for many queries at once.

Inner products are ranked by blocks of candidates, whose lists are merged; scores that are 0 for
most candidates are ranked without writing the zeros down. Both give the very lists that the whole
matrix of scores gives.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.ranking import Ragged, order


@runtime_checkable
class BlockScorer(Protocol):
    """Scores any part of the corpus."""

    def block(self, queries: NDArray[np.int64], start: int, stop: int) -> NDArray[np.floating]:
        """Scores `[len(queries), stop - start]` of the rows from `start` to `stop`.

        The array is the caller's.
        """


@runtime_checkable
class SparseScorer(Protocol):
    """Scores few candidates above 0, and the others 0."""

    def sparse(self, queries: NDArray[np.int64]) -> sparse.csr_matrix:
        """Scores, `[len(queries), num_candidates]`, none below 0."""


def ranked_in_blocks(
    scorer: BlockScorer, query_set: QuerySet, eligible: NDArray[np.bool_], k: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.floating]]]:
    """The lists of some queries at a time; see `corpus_ranking.ranked_chunks`."""
    for queries in _chunks(len(query_set)):
        blocks = _blocks(scorer, queries, query_set.seen.take(queries), eligible)
        scores, rows = order.top_k_of_blocks(blocks, k)
        yield queries, rows, scores


def _blocks(
    scorer: BlockScorer, queries: NDArray[np.int64], seen: Ragged, eligible: NDArray[np.bool_]
) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """The first row of each block and its scores, -inf at what may not be ranked."""
    for start in range(0, len(eligible), order.BLOCK):
        stop = min(start + order.BLOCK, len(eligible))
        scores = scorer.block(queries, start, stop)
        scores[:, ~eligible[start:stop]] = -np.inf
        inside = (seen.values >= start) & (seen.values < stop)
        scores[seen.owners[inside], seen.values[inside] - start] = -np.inf
        yield start, scores


def rank_sparse(
    scorer: SparseScorer, query_set: QuerySet, eligible: NDArray[np.bool_], k: int
) -> NDArray[np.int64]:
    """The first k candidates of each query; see `corpus_ranking.rank_corpus`.

    Raises:
        ValueError: a score is below 0 or NaN.
    """
    ranked = np.full((len(query_set), k), order.MISSING_ROW, np.int64)
    fill = np.flatnonzero(eligible)
    for queries in _chunks(len(query_set)):
        scores = scorer.sparse(queries)
        if not (scores.data >= 0).all():
            raise ValueError("a sparse score is NaN or below 0, the score of what is not listed")
        scores.sort_indices()
        for place, query in enumerate(queries):
            own = slice(scores.indptr[place], scores.indptr[place + 1])
            seen = query_set.seen[int(query)]
            rows = _best(scores.indices[own], scores.data[own], seen, eligible, k)
            ranked[query, : len(rows)] = rows
            if len(rows) < k:
                zeros = fill[: k + len(seen)]
                zeros = zeros[~np.isin(zeros, np.concatenate([rows, seen]))][: k - len(rows)]
                ranked[query, len(rows) : len(rows) + len(zeros)] = zeros
    return ranked


def _best(
    rows: NDArray[np.integer],
    scores: NDArray[np.floating],
    seen: NDArray[np.int64],
    eligible: NDArray[np.bool_],
    k: int,
) -> NDArray[np.integer]:
    """The first k of ascending rows with scores above 0, without those that may not be ranked."""
    kept = (scores > 0) & eligible[rows]
    places = np.searchsorted(rows, seen)
    inside = places < len(rows)
    found = places[inside][rows[places[inside]] == seen[inside]]
    kept[found] = False
    rows, scores = rows[kept], scores[kept]
    if len(rows) > k:
        reached = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
        rows, scores = rows[reached], scores[reached]
    return rows[np.argsort(-scores, kind="stable")[:k]]


def _chunks(num_queries: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, num_queries, order.QUERIES_AT_ONCE):
        yield np.arange(start, min(start + order.QUERIES_AT_ONCE, num_queries), dtype=np.int64)
