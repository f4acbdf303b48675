"""Oracle of EASE, reduced to a rank, of a decayed history, with dense matrices."""

from collections.abc import Sequence

import numpy as np


def chosen_matrix(pairs: set[tuple[int, int]], num_queries: int, num_candidates: int) -> np.ndarray:
    """X: 1 where a query chose a candidate."""
    x = np.zeros((num_queries, num_candidates))
    for query, row in pairs:
        x[query, row] = 1.0
    return x


def ease(x: np.ndarray, l2: float) -> np.ndarray:
    """B of Steck 2019 by a general inverse."""
    p = np.linalg.inv(x.T @ x + l2 * np.eye(x.shape[1]))
    b = -p / np.diag(p)[None, :]
    np.fill_diagonal(b, 0.0)
    return b


def cut(x: np.ndarray, b: np.ndarray, rank: int) -> np.ndarray:
    """B V V' with the right singular vectors V of XB, those with a score, at most `rank`."""
    _, values, v = np.linalg.svd(x @ b, full_matrices=False)
    v = v[:rank][values[:rank] > 1e-6 * values[0]].T
    return b @ v @ v.T


def history_weights(
    histories: Sequence[Sequence[int]], half_life: float | None, num_candidates: int
) -> np.ndarray:
    """Weight of each candidate in one query's histories, most recent first; -1 is padding."""
    weights = np.zeros(num_candidates)
    for history in histories:
        for position, row in enumerate(history):
            if row >= 0:
                weight = 1.0 if half_life is None else 2.0 ** (-position / half_life)
                weights[row] = max(weights[row], weight)
    return weights
