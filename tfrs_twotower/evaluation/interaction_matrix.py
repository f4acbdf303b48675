"""Interactions as sparse matrices: what a baseline may learn from, and a query's profile."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tfrs_twotower.closed_form.ease import binary_matrix
from tfrs_twotower.evaluation.inputs import InteractionLog, QuerySet


def window(
    log: InteractionLog, splits: Sequence[int], *, positives_only: bool
) -> NDArray[np.bool_]:
    """`[num_interactions]`: which interactions lie in the splits (and are positive)."""
    chosen = np.isin(log.split, np.asarray(splits))
    return chosen & log.positive if positives_only else chosen


def interaction_matrix(
    log: InteractionLog, chosen: NDArray[np.bool_], num_candidates: int
) -> sparse.csr_matrix:
    """`[num_queries, num_candidates]` float32, 1 where a chosen interaction is (or several)."""
    return binary_matrix(
        log.query[chosen], log.candidate[chosen], len(log.query_ids), num_candidates
    )


def profile_matrix(
    log: InteractionLog, chosen: NDArray[np.bool_], query_set: QuerySet, num_candidates: int
) -> sparse.csr_matrix:
    """`[len(query_set), num_candidates]`: the chosen interactions of each evaluated query."""
    place = np.full(len(log.query_ids), -1, np.int64)
    codes = log.codes_of(query_set.ids)
    known = codes >= 0
    place[codes[known]] = np.flatnonzero(known)
    rows = place[log.query]
    chosen = chosen & (rows >= 0)
    return binary_matrix(rows[chosen], log.candidate[chosen], len(query_set), num_candidates)
