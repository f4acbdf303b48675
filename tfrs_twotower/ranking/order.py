"""Rankings in their total order (score descending, then row ascending), exact search, overlap."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

FloatArray = npt.NDArray[np.float32]
RowArray = npt.NDArray[np.int64]
MISSING_ROW = -1
"""Row at the ranks that a short list leaves empty."""
LOWEST_SCORE = float(np.finfo(np.float32).min)
"""Score at these ranks."""
MOST_AT_ONCE = 1 << 18
"""A larger corpus is ranked in blocks: a product with few queries reads all vectors for little."""
BLOCK, QUERIES_AT_ONCE = 1 << 16, 64
"""Candidates and queries of a block, whose scores fill 16 MB."""
_SCORES_AT_ONCE, _PRODUCTS_AT_ONCE = 1 << 24, 1 << 23
_PARTS_OF_K = 8
"""A row is sifted by the maxima of its parts if it has this many parts for each rank."""
_MOST_SIFTED = 4
"""Ties at the cut-off may leave this many times k candidates to sort; more are partitioned."""


def top_k_rows(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Returns the rows of the k best scores: score descending, then row ascending.

    The order is total, so the result does not depend on the method of selection. If all scores are
    equal, the first k rows are returned, relevant or not: over permuted rows a constant scorer has
    an expected recall of k / num_candidates.

    Args:
        scores: `[num_queries, num_candidates]`; -inf excludes a candidate from the ranking.
        k: length of the lists.

    Returns:
        `[num_queries, k]` rows, padded with -1 if fewer than k candidates can be ranked.

    Raises:
        ValueError: a score is NaN, k is not positive, or `scores` is not a matrix.
    """
    if scores.ndim != 2 or k < 1:
        raise ValueError(
            f"scores has shape {scores.shape} and k is {k}; expected a matrix and k >= 1"
        )
    if np.isnan(scores.max(initial=-np.inf)):  # NaN, if there is one
        raise ValueError("a score is NaN; a ranking needs a number for every candidate")
    num_queries, num_candidates = scores.shape
    width = min(k, num_candidates)
    ranked = np.full((num_queries, k), MISSING_ROW, np.int64)
    if width == 0 or num_queries == 0:
        return ranked
    if width == num_candidates:
        best = np.broadcast_to(np.arange(width), (num_queries, width))
        ranked[:, :width] = _in_order(best, scores)
        return ranked
    rest = np.arange(num_queries)
    if num_candidates >= _PARTS_OF_K * _PARTS_OF_K * k:
        sifted, rows = _sifted_top_k(scores, k)
        ranked[sifted] = rows
        rest = np.setdiff1d(rest, sifted, assume_unique=True)
    if len(rest):
        part = scores if len(rest) == num_queries else scores[rest]
        ranked[rest, :width] = _in_order(_unordered_top_k(part, width), part)
    return ranked


def _in_order(best: NDArray[np.int64], scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Sorts rows that ascend by their scores; -1 where the score is -inf."""
    best_scores = np.take_along_axis(scores, best, axis=1)
    order = np.argsort(-best_scores, axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    usable = np.take_along_axis(best_scores, order, axis=1) > -np.inf
    return np.where(usable, best, MISSING_ROW)


def _sifted_top_k(
    scores: NDArray[np.floating], k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The k best of most queries, without a partition of all their scores.

    The k-th largest of the maxima of disjoint parts is at most the k-th largest score, so every
    candidate of the list is at or above it, and few others are.

    Returns:
        Positions of the queries with few enough candidates, and their lists `[.., k]`.
    """
    num_queries, num_candidates = scores.shape
    size = num_candidates // (_PARTS_OF_K * k)
    parts = scores[:, : size * _PARTS_OF_K * k].reshape(num_queries, size, -1).max(axis=1)
    least = np.partition(parts, -k, axis=1)[:, -k]
    reach = scores >= least[:, None]
    # Faster than `axis=1`, which adds numbers up.
    reached = np.fromiter(map(np.count_nonzero, reach), np.int64, num_queries)
    few = np.flatnonzero((reached <= _MOST_SIFTED * k) & (least > -np.inf))
    if len(few) < num_queries:
        reach = reach[few]
    owners, rows = np.divmod(np.flatnonzero(reach.ravel()), num_candidates)
    order = np.lexsort((rows, -scores[few[owners], rows], owners))
    lengths = np.bincount(owners, minlength=len(few))
    rank = np.arange(len(owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return few, rows[order][rank < k].reshape(len(few), k)


def _unordered_top_k(scores: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Returns the k best of each query, rows ascending; ties at the cut-off go to lower rows."""
    best = np.argpartition(scores, -k, axis=1)[:, -k:]
    cut_off = np.take_along_axis(scores, best, axis=1).min(axis=1)
    for query in np.flatnonzero((scores >= cut_off[:, None]).sum(axis=1) > k):
        above = np.flatnonzero(scores[query] > cut_off[query])
        level = np.flatnonzero(scores[query] == cut_off[query])
        best[query] = np.concatenate([above, level[: k - len(above)]])
    return np.sort(best, axis=1)


def re_rank(rows: NDArray[np.int64], scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Sorts each list of rows: score descending, then row ascending, then -1.

    Args:
        rows: `[num_queries, n]`, -1 for a missing candidate.
        scores: `[num_queries, n]`; scores of missing candidates are not read.

    Raises:
        ValueError: the score of a candidate is NaN.
    """
    absent = rows < 0
    if np.isnan(scores[~absent]).any():
        raise ValueError("a score is NaN; a ranking needs a number for every candidate")
    descending = np.where(absent, np.inf, -scores)
    order = np.lexsort((rows, descending, absent), axis=1)
    return np.take_along_axis(rows, order, axis=1)


def exact_top_k(queries: FloatArray, vectors: FloatArray, k: int) -> tuple[FloatArray, RowArray]:
    """Finds the k candidates of largest inner product: score descending, then row ascending.

    Args:
        queries: `[num_queries, embedding_dim]`.
        vectors: `[num_candidates, embedding_dim]`, in row order.
        k: length of the lists, at least 1; ranks beyond `num_candidates` get row -1 and the lowest
            float32.

    Returns:
        Scores and rows, each `[num_queries, k]`.
    """
    num_candidates = len(vectors)
    depth = min(k, num_candidates)
    scores = np.full((len(queries), k), LOWEST_SCORE, np.float32)
    rows = np.full((len(queries), k), MISSING_ROW, np.int64)
    if depth == 0:
        return scores, rows
    if num_candidates > MOST_AT_ONCE:
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            part = slice(start, start + QUERIES_AT_ONCE)
            blocks = (
                (first, queries[part] @ vectors[first : first + BLOCK].T)
                for first in range(0, num_candidates, BLOCK)
            )
            scores[part, :depth], rows[part, :depth] = top_k_of_blocks(blocks, depth)
        return scores, rows
    step = max(1, _SCORES_AT_ONCE // num_candidates)
    for start in range(0, len(queries), step):
        block = queries[start : start + step] @ vectors.T
        # Candidates that tie with the last rank are kept until row order breaks the tie. This is
        # faster than `top_k_rows`, which partitions positions instead of scores.
        least = np.partition(block, num_candidates - depth, axis=1)[:, num_candidates - depth]
        for offset, query_scores in enumerate(block):
            kept = np.flatnonzero(query_scores >= least[offset])
            best = kept[np.argsort(-query_scores[kept], kind="stable")[:depth]]
            scores[start + offset, :depth] = query_scores[best]
            rows[start + offset, :depth] = best
    return scores, rows


def top_k_of_blocks(
    blocks: Iterable[tuple[int, NDArray[np.floating]]], k: int
) -> tuple[NDArray[np.floating], RowArray]:
    """The k best of a corpus that is scored block by block, in the order of `top_k_rows`.

    Args:
        blocks: the first row of each block, ascending, and its scores `[num_queries, block]`.
        k: see `top_k_rows`.

    Returns:
        Scores and rows `[num_queries, at most k]`, -inf and -1 at ranks that stay empty.
    """
    scores: NDArray[np.floating] = np.zeros((0, 0), np.float32)
    rows: RowArray = np.zeros((0, 0), np.int64)
    for first, block in blocks:
        if not len(rows):
            scores, rows = block[:, :0], np.zeros((len(block), 0), np.int64)
        own = top_k_rows(block, k)
        best = np.take_along_axis(block, np.maximum(own, 0), axis=1)
        best[own < 0] = -np.inf
        # Rows of earlier blocks stand first, so that a stable sort breaks ties.
        scores = np.concatenate([scores, best], axis=1)
        rows = np.concatenate([rows, np.where(own < 0, own, own + first)], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(scores, order, axis=1)
        rows = np.take_along_axis(rows, order, axis=1)
    return scores, rows


TIE_TOLERANCE = 1e-5
"""Share of the exact k-th score by which a returned candidate may lie below it and still count as
found: candidates that tie with the last rank are equally right answers, and sums of the same
products in another order differ in their last bits. (ann-benchmarks allows 1e-3.)"""


def overlaps(
    returned: NDArray[Any],
    returned_scores: NDArray[np.floating],
    exact: NDArray[Any],
    exact_scores: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Returns overlap@k of each query: |found| / |exact|, `[num_queries]`.

    A returned candidate is found if it is one of the exact list, or if its score reaches the list's
    last score within `TIE_TOLERANCE`.

    Args:
        returned: `[num_queries, n]` rows or ids; a repeated candidate counts once.
        returned_scores: `[num_queries, n]` their exact scores; below every other at missing places.
        exact: `[num_queries, k]` rows or ids of exact search.
        exact_scores: `[num_queries, k]`, the lowest float32 at missing places, which do not count.

    Returns:
        Shares; 1 for a query whose exact list is empty.
    """
    shares = np.ones(len(exact))
    for query, scores in enumerate(exact_scores):
        real = scores > LOWEST_SCORE
        if not real.any():
            continue
        last = float(scores[real].min())
        reached = returned_scores[query] >= last - TIE_TOLERANCE * abs(last)
        found = reached | np.isin(returned[query], exact[query][real])
        num_found = len(np.unique(returned[query][found]))
        shares[query] = min(1.0, num_found / int(real.sum()))
    return shares


@dataclass(frozen=True)
class ExactLists:
    """The exact lists of some queries, which the lists of an index are compared with."""

    queries: FloatArray
    """`[num_queries, embedding_dim]`."""
    vectors: FloatArray
    """`[num_candidates, embedding_dim]`, in row order."""
    rows: RowArray
    """`[num_queries, k]`."""
    scores: NDArray[np.float64]
    """`[num_queries, k]`, in double precision, so that twins have one score."""

    @classmethod
    def of(cls, queries: FloatArray, vectors: FloatArray, k: int) -> "ExactLists":
        """Searches exactly; see `exact_top_k`."""
        rows = exact_top_k(queries, vectors, k)[1]
        return cls(queries, vectors, rows, row_scores(queries, vectors, rows))

    @property
    def k(self) -> int:
        """Length of the lists."""
        return self.rows.shape[1]

    def overlaps(self, returned: RowArray) -> NDArray[np.float64]:
        """Overlap@k of each query, see `overlaps`, for returned rows `[num_queries, n]`."""
        scores = row_scores(self.queries, self.vectors, returned)
        return overlaps(returned, scores, self.rows, self.scores)


def row_scores(queries: FloatArray, vectors: FloatArray, rows: RowArray) -> NDArray[np.float64]:
    """Inner products of queries with listed candidates, `[num_queries, n]`; LOWEST_SCORE at -1."""
    scores = np.empty(rows.shape)
    step = max(1, _PRODUCTS_AT_ONCE // max(1, rows.shape[1] * queries.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        listed = vectors[np.maximum(rows[part], 0)].astype(np.float64)
        scores[part] = np.einsum("qd,qnd->qn", queries[part].astype(np.float64), listed)
    return np.where(rows == MISSING_ROW, LOWEST_SCORE, scores)


class Overlap(NamedTuple):
    """Overlap@k over some queries."""

    mean: float
    worst_decile: float
    """Mean over the tenth of the queries that have the least, at least one."""

    @classmethod
    def of(cls, shares: NDArray[np.float64]) -> "Overlap":
        """Summarises the overlap of each query; 1 without queries."""
        if not len(shares):
            return cls(1.0, 1.0)
        worst = np.sort(shares)[: -(-len(shares) // 10)]
        return cls(round(float(shares.mean()), 6), round(float(worst.mean()), 6))
