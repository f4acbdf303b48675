"""Ranking metrics: rankings judged by their ground truth, measures of accuracy, and of exposure."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.ranking.ragged import GroundTruth, Ragged
from tfrs_twotower.ranking.sorting import distinct, order_by

_COMPARED_AT_ONCE = 1 << 20
"""Ranked candidates that are compared with relevant ones at once."""


@dataclass(frozen=True)
class Judged:
    """A ranking with the gain at each rank.

    Attributes:
        gains: `[num_queries, K]` float64, 0 for a candidate that is not relevant.
        num_relevant: `[num_queries]` number of relevant candidates in the ground truth.
        ideal_gains: `[num_queries, K]` the largest gains of the query, descending, padded with 0.
    """

    gains: NDArray[np.float64]
    num_relevant: NDArray[np.int64]
    ideal_gains: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.num_relevant)

    def hits(self, k: int) -> NDArray[np.bool_]:
        """Returns `[num_queries, k]`: whether the candidate at each rank up to k is relevant.

        Raises:
            ValueError: k is not between 1 and the length of the judged lists.
        """
        if not 1 <= k <= self.gains.shape[1]:
            raise ValueError(
                f"k is {k}, but the judged lists have {self.gains.shape[1]} ranks; "
                "rank at least k candidates (pad short lists with -1)"
            )
        return self.gains[:, :k] > 0

    def take(self, queries: NDArray[np.integer]) -> "Judged":
        """Returns the judged rankings of some queries, in the given order."""
        return Judged(self.gains[queries], self.num_relevant[queries], self.ideal_gains[queries])


def judge(ranked: NDArray[np.integer], truth: GroundTruth) -> Judged:
    """Looks up each ranked candidate in the ground truth.

    Args:
        ranked: `[num_queries, K]` rows, best first, padded with -1. No row may occur twice in a
            list.
        truth: ground truth of the same queries, in the same order.

    Raises:
        ValueError: the shapes do not fit, or a list holds a row twice.
    """
    return judge_places(places_of(ranked, truth), truth, ranked.shape[1])


def places_of(ranked: NDArray[np.integer], truth: GroundTruth) -> NDArray[np.int64]:
    """The place of each relevant candidate in its query's list, from 0; -1 where it is not there.

    Args:
        ranked: as for `judge`.
        truth: ground truth of the same queries, in the same order.

    Returns:
        `[len(truth.gains)]`.

    Raises:
        ValueError: as `judge`.
    """
    if ranked.ndim != 2 or len(ranked) != len(truth):
        raise ValueError(
            f"ranked has shape {ranked.shape}, the ground truth {len(truth)} queries; "
            "expected [num_queries, K]"
        )
    ordered = np.sort(ranked, axis=1)
    if np.any((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)):
        raise ValueError("a ranked list holds the same row twice; each candidate is ranked once")
    values, owners = truth.relevant.values, truth.relevant.owners
    places = np.full(len(values), -1, np.int64)
    at_once = max(1, _COMPARED_AT_ONCE // max(ranked.shape[1], 1))
    for start in range(0, len(values), at_once):
        pairs = slice(start, start + at_once)
        found, own = np.nonzero(ranked[owners[pairs]] == values[pairs, None])
        places[start + found] = own
    return places


def judge_places(places: NDArray[np.int64], truth: GroundTruth, width: int) -> Judged:
    """What `judge` returns, from `places_of` lists of some width.

    The places of a part of the ground truth are those of the whole at the same pairs, so that a
    list is searched once for all parts.
    """
    gains = np.zeros((len(truth), width))
    found = places >= 0
    gains[truth.relevant.owners[found], places[found]] = truth.gains[found]
    return Judged(gains, truth.relevant.lengths, _ideal(truth, width))


def _ideal(truth: GroundTruth, width: int) -> NDArray[np.float64]:
    owners = truth.relevant.owners
    order = order_by(owners, -truth.gains)
    rank = np.arange(len(owners)) - truth.relevant.offsets[:-1][owners]
    kept = rank < width
    ideal = np.zeros((len(truth), width))
    ideal[owners[kept], rank[kept]] = truth.gains[order][kept]
    return ideal


RankingMetric = Callable[[Judged, int], NDArray[np.float64]]
"""Takes judged rankings and k; returns `[num_queries]` values."""


def recall(judged: Judged, k: int) -> NDArray[np.float64]:
    """Returns |relevant in the first k| / |relevant|, as TREC and ir_measures `R@k` define it.

    The divisor is not min(k, |relevant|): a query with more than k relevant candidates cannot reach
    1.

    Returns:
        `[num_queries]`; 0 for an empty query.
    """
    return judged.hits(k).sum(axis=1) / np.maximum(judged.num_relevant, 1)


def hit_rate(judged: Judged, k: int) -> NDArray[np.float64]:
    """Returns 1 if one of the first k candidates is relevant, else 0 (TREC's Success@k).

    Returns:
        `[num_queries]`.
    """
    return np.asarray(judged.hits(k).any(axis=1), np.float64)


def precision(judged: Judged, k: int) -> NDArray[np.float64]:
    """Returns |relevant in the first k| / k, also for a list shorter than k.

    Returns:
        `[num_queries]`.
    """
    return judged.hits(k).sum(axis=1) / float(k)


def ndcg(judged: Judged, k: int) -> NDArray[np.float64]:
    """Returns DCG@k / ideal DCG@k, where DCG@k = sum over ranks r <= k of gain_r / log2(r + 1).

    The gain is linear, as in trec_eval and in ir_measures' `nDCG` (not 2^gain - 1). The ideal
    list holds the best min(k, |relevant|) gains.

    Returns:
        `[num_queries]`; 0 for an empty query.
    """
    judged.hits(k)  # refuses a k beyond the judged lists
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    gained = judged.gains[:, :k] @ discount
    ideal = judged.ideal_gains[:, :k] @ discount
    return np.divide(gained, ideal, out=np.zeros(len(judged)), where=ideal > 0)


def reciprocal_rank(judged: Judged, k: int) -> NDArray[np.float64]:
    """Returns 1 / rank of the first relevant candidate if that rank is at most k, else 0.

    Returns:
        `[num_queries]`; its mean is MRR@k.
    """
    hits = judged.hits(k)
    return np.where(hits.any(axis=1), 1.0 / (1.0 + hits.argmax(axis=1)), 0.0)


def average_precision(judged: Judged, k: int) -> NDArray[np.float64]:
    """Returns (1 / |relevant|) * sum over relevant ranks r <= k of (hits up to r) / r.

    The divisor is all relevant candidates, as in trec_eval, not min(k, |relevant|).

    Returns:
        `[num_queries]`; its mean is MAP@k. 0 for an empty query.
    """
    hits = judged.hits(k)
    precision_at = np.cumsum(hits, axis=1) / np.arange(1, k + 1)
    return (precision_at * hits).sum(axis=1) / np.maximum(judged.num_relevant, 1)


RANKING_METRICS: dict[str, RankingMetric] = {
    "recall": recall,
    "hit_rate": hit_rate,
    "precision": precision,
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
    "map": average_precision,
}


def parse_metric(name: str) -> tuple[RankingMetric, int]:
    """Parses a name such as `ndcg@10` into the metric and k.

    Raises:
        ValueError: the name is not METRIC@K of a known metric and a whole number above 0.
    """
    kind, _, k = name.partition("@")
    if kind not in RANKING_METRICS or not k.isdecimal() or int(k) < 1:
        raise ValueError(
            f"'{name}' is not a ranking metric; expected METRIC@K, METRIC one of "
            f"{', '.join(RANKING_METRICS)}, and K a whole number above 0"
        )
    return RANKING_METRICS[kind], int(k)


def per_query(name: str, judged: Judged) -> NDArray[np.float64]:
    """Returns the metric of that name, `[num_queries]`."""
    metric, k = parse_metric(name)
    return metric(judged, k)


def coverage(ranked: NDArray[np.integer], k: int, num_candidates: int) -> float:
    """Returns distinct candidates in the first k of all queries / candidates in the corpus.

    It is a property of a set of queries, not of one query: more queries cover more candidates.
    """
    shown = distinct(ranked[:, :k])
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
