"""Ranking metrics `(judged, k) -> [num_queries]`, and their names in configs and reports."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.metrics.judging import Judged

RankingMetric = Callable[[Judged, int], NDArray[np.float64]]


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
    judged.hits(k)
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
