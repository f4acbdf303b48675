"""Exact search in NumPy: the answer that every index is measured against."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
RowArray = npt.NDArray[np.int64]

MISSING_ROW = -1
LOWEST_SCORE = float(np.finfo(np.float32).min)
_SCORES_AT_ONCE = 1 << 24


def exact_top_k(queries: FloatArray, vectors: FloatArray, k: int) -> tuple[FloatArray, RowArray]:
    """The k candidates of largest inner product, by score descending, then row ascending.

    Args:
        queries: `[num_queries, embedding_dim]`.
        vectors: `[num_candidates, embedding_dim]`, in row order.
        k: list length, at least 1; places beyond `num_candidates` get row -1 and the lowest
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
        # Everything that ties with the last place is kept until rows have broken the tie.
        least = np.partition(block, num_candidates - depth, axis=1)[:, num_candidates - depth]
        for offset, line in enumerate(block):
            found = np.flatnonzero(line >= least[offset])
            best = found[np.argsort(-line[found], kind="stable")[:depth]]
            scores[start + offset, :depth] = line[best]
            rows[start + offset, :depth] = best
    return scores, rows


def mean_overlap(found: RowArray, exact: RowArray) -> float:
    """Mean over queries of |found in exact| / |exact|: overlap@k. Missing rows count as nothing.

    Args:
        found: `[num_queries, k]` rows of the index; none stands twice in a line.
        exact: `[num_queries, k]` rows of exact search.
    """
    shares = []
    for line, wanted in zip(found, exact, strict=True):
        wanted = wanted[wanted != MISSING_ROW]
        if len(wanted):
            shares.append(np.isin(wanted, line).mean())
    return float(np.mean(shares)) if shares else 1.0
