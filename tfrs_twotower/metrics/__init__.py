"""Room `metrics`: the quality of a ranking, in NumPy. It uses no TensorFlow and no files.

A ranking is `ranked`, `[num_queries, K]` rows of the corpus, best first, padded with -1. The
ground truth is a `GroundTruth`. `judge` looks up the ranking in the ground truth once; every
ranking metric is then a function `(judged, k) -> [num_queries]`. The caller takes the mean over
queries.
"""

from tfrs_twotower.metrics.exposure import average_popularity, coverage, popularity_lift
from tfrs_twotower.metrics.judging import Judged, judge
from tfrs_twotower.metrics.pointwise import auc, gauc, log_loss
from tfrs_twotower.metrics.ranking_metrics import (
    RANKING_METRICS,
    average_precision,
    hit_rate,
    ndcg,
    parse_metric,
    per_query,
    precision,
    recall,
    reciprocal_rank,
)

__all__ = [
    "RANKING_METRICS",
    "Judged",
    "auc",
    "average_popularity",
    "average_precision",
    "coverage",
    "gauc",
    "hit_rate",
    "judge",
    "log_loss",
    "ndcg",
    "parse_metric",
    "per_query",
    "popularity_lift",
    "precision",
    "recall",
    "reciprocal_rank",
]
