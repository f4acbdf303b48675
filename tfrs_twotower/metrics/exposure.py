"""Metrics of what all queries together are shown: coverage and popularity."""

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.ranking.ragged import Ragged


def coverage(ranked: NDArray[np.integer], k: int, num_candidates: int) -> float:
    """Returns distinct candidates in the first k of all queries / candidates in the corpus.

    It is a property of a set of queries, not of one query: more queries cover more candidates.
    """
    shown = np.unique(ranked[:, :k])
    return float((shown >= 0).sum()) / max(num_candidates, 1)


def average_popularity(
    ranked: NDArray[np.integer], k: int, popularity: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Returns the mean training popularity of the first k candidates.

    Args:
        ranked: `[num_queries, K]` rows, padded with -1 (left out of the mean).
        k: length of the lists.
        popularity: `[num_candidates]` training interactions of each candidate.

    Returns:
        `[num_queries]`; NaN for an empty list.
    """
    rows = ranked[:, :k]
    shown = rows >= 0
    total = np.where(shown, popularity[np.maximum(rows, 0)], 0.0).sum(axis=1)
    counts = shown.sum(axis=1)
    return np.divide(total, counts, out=np.full(len(rows), np.nan), where=counts > 0)


def popularity_lift(
    ranked: NDArray[np.integer], k: int, profiles: Ragged, popularity: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compares the popularity of the lists with that of the queries' own choices.

    The lift is mean(recommended) / mean(profile) - 1 over the queries that have a profile
    (Abdollahpouri et al. 2019, one group): 0 means equally popular, 1 twice as popular.

    Args:
        ranked: `[num_queries, K]` rows.
        k: length of the lists.
        profiles: each query's earlier candidates.
        popularity: `[num_candidates]` training interactions of each candidate.

    Returns:
        `[num_queries]` mean popularity of the list, and of the profile; both NaN for a query
        without a profile or without a list. The lift is the ratio of their means, minus 1.
    """
    recommended = average_popularity(ranked, k, popularity)
    total = np.bincount(profiles.owners, popularity[profiles.values], minlength=len(profiles))
    counts = profiles.lengths
    chosen = np.divide(total, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    missing = np.isnan(recommended) | np.isnan(chosen)
    return np.where(missing, np.nan, recommended), np.where(missing, np.nan, chosen)
