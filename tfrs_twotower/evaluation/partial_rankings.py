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
from tfrs_twotower.ranking.order import MISSING_ROW, top_k_rows

BLOCK = 1 << 16
"""Candidates of a block; its scores for `QUERIES_AT_ONCE` queries fill 16 MB."""
QUERIES_AT_ONCE = 64


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
        seen = query_set.seen.take(queries)
        rows = np.zeros((len(queries), 0), np.int64)
        best = np.zeros((len(queries), 0), np.float32)
        for start in range(0, len(eligible), BLOCK):
            stop = min(start + BLOCK, len(eligible))
            scores = scorer.block(queries, start, stop)
            scores[:, ~eligible[start:stop]] = -np.inf
            inside = (seen.values >= start) & (seen.values < stop)
            scores[seen.owners[inside], seen.values[inside] - start] = -np.inf
            own = top_k_rows(scores, k)
            own_best = np.take_along_axis(scores, np.maximum(own, 0), axis=1)
            own_best[own < 0] = -np.inf
            # Rows of earlier blocks are lower and stand first, so that a stable sort breaks ties.
            rows = np.concatenate([rows, np.where(own < 0, own, own + start)], axis=1)
            best = np.concatenate([best, own_best], axis=1)
            order = np.argsort(-best, axis=1, kind="stable")[:, :k]
            rows, best = (np.take_along_axis(part, order, axis=1) for part in (rows, best))
        yield queries, rows, best


def rank_sparse(
    scorer: SparseScorer, query_set: QuerySet, eligible: NDArray[np.bool_], k: int
) -> NDArray[np.int64]:
    """The first k candidates of each query; see `corpus_ranking.rank_corpus`.

    Raises:
        ValueError: a score is below 0 or NaN.
    """
    ranked = np.full((len(query_set), k), MISSING_ROW, np.int64)
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
    for start in range(0, num_queries, QUERIES_AT_ONCE):
        yield np.arange(start, min(start + QUERIES_AT_ONCE, num_queries), dtype=np.int64)
