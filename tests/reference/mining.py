"""Oracles of mined lists and of the EASE scores of histories, with loops on purpose."""

from collections.abc import Collection, Sequence

import numpy as np


def mined_list(
    scores: np.ndarray, known_positives: Collection[int], excluded: Collection[int], depth: int
) -> list[int]:
    """Rows by score descending, then row ascending, without the excluded ones, padded with -1."""
    remaining = [
        (-float(score), row)
        for row, score in enumerate(scores)
        if row not in known_positives and row not in excluded
    ]
    rows = [row for _, row in sorted(remaining)[:depth]]
    return rows + [-1] * (depth - len(rows))


def nearest_queries(
    vector: np.ndarray,
    embeddings: np.ndarray,
    query_of_example: Sequence[int],
    times: Sequence[int],
    answered: Collection[int],
    first: int,
    last: int,
) -> list[int]:
    """The latest examples of the queries nearest to a candidate, from one rank to another.

    Queries that the candidate answers are left out; of equal ones the smaller query comes first.
    """
    latest = {}
    for example, query in enumerate(query_of_example):
        if query not in latest or times[example] >= times[latest[query]]:
            latest[query] = example
    ranked = sorted(
        (-float(embeddings[example] @ vector), query, example)
        for query, example in latest.items()
        if query not in answered
    )
    examples = [int(example) for _, _, example in ranked][first - 1 : last]
    return examples + [-1] * (last - first + 1 - len(examples))


def ease_weights(pairs: Collection[tuple[int, int]], num_candidates: int, l2: float) -> np.ndarray:
    """B of Steck 2019 by a general inverse in float64."""
    queries = sorted({query for query, _ in pairs})
    x = np.zeros((len(queries), num_candidates))
    for query, row in pairs:
        x[queries.index(query), row] = 1.0
    p = np.linalg.inv(x.T @ x + l2 * np.eye(num_candidates))
    b = -p / np.diag(p)[None, :]
    b[np.diag_indices(num_candidates)] = 0.0
    return b


def ease_scores(
    weights: np.ndarray, history: Collection[int], target: int, rows: Sequence[int]
) -> list[float]:
    """Sum of B_ij over the distinct candidates i of the history but the target, for each row j."""
    profile = set(history) - {target}
    return [sum(float(weights[i, j]) for i in sorted(profile)) if j >= 0 else 0.0 for j in rows]
