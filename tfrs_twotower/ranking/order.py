"""Rankings in their total order (score descending, then row ascending), exact search, overlap."""

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

FloatArray = npt.NDArray[np.float32]
RowArray = npt.NDArray[np.int64]
MISSING_ROW = -1
"""Row at the ranks that a short list leaves empty."""
LOWEST_SCORE = float(np.finfo(np.float32).min)
"""Score at these ranks."""
_SCORES_AT_ONCE = 1 << 24
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
    if np.isnan(scores).any():
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
    few = np.flatnonzero((np.count_nonzero(reach, axis=1) <= _MOST_SIFTED * k) & (least > -np.inf))
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


def mean_overlap(returned: RowArray, exact: RowArray) -> float:
    """Returns overlap@k, the mean over queries of |returned in exact| / |exact|.

    Args:
        returned: `[num_queries, k]` rows of the index; no row occurs twice in a list.
        exact: `[num_queries, k]` rows of exact search; missing rows do not count.
    """
    shares = []
    for returned_rows, exact_rows in zip(returned, exact, strict=True):
        exact_rows = exact_rows[exact_rows != MISSING_ROW]
        if len(exact_rows):
            shares.append(np.isin(exact_rows, returned_rows).mean())
    return float(np.mean(shares)) if shares else 1.0
