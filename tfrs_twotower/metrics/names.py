"""Metrics by the names that configs and reports use: `recall@20`."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.metrics.hit_rate import hit_rate
from tfrs_twotower.metrics.judging import Judged
from tfrs_twotower.metrics.mean_average_precision import average_precision
from tfrs_twotower.metrics.mrr import reciprocal_rank
from tfrs_twotower.metrics.ndcg import ndcg
from tfrs_twotower.metrics.precision import precision
from tfrs_twotower.metrics.recall import recall

RankingMetric = Callable[[Judged, int], NDArray[np.float64]]

RANKING_METRICS: dict[str, RankingMetric] = {
    "recall": recall,
    "hit_rate": hit_rate,
    "precision": precision,
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
    "map": average_precision,
}


def parse_metric(name: str) -> tuple[RankingMetric, int]:
    """The function and the k of a name such as `ndcg@10`.

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
    """The metric of that name, `[num_queries]`."""
    metric, k = parse_metric(name)
    return metric(judged, k)
