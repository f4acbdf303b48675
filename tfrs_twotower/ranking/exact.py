"""Exact search in NumPy, against which every index is measured, and the overlap with it."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
RowArray = npt.NDArray[np.int64]

MISSING_ROW = -1
LOWEST_SCORE = float(np.finfo(np.float32).min)
_SCORES_AT_ONCE = 1 << 24


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
        # Every candidate that ties with the last rank is kept, until row order breaks the tie.
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
