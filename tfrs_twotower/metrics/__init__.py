"""Room `metrics`: what a ranking is worth, in NumPy. No TensorFlow, no files.

A ranking is `ranked`, `[num_queries, K]` rows of the corpus, best first, padded with -1. The
ground truth is a `GroundTruth`. `judge` looks the one up in the other once; every ranking metric
is then a function `(judged, k) -> [num_queries]`. The mean over queries is the caller's.
"""

from tfrs_twotower.metrics.exposure import average_popularity, coverage, popularity_lift
from tfrs_twotower.metrics.ground_truth import GroundTruth
from tfrs_twotower.metrics.hit_rate import hit_rate
from tfrs_twotower.metrics.judging import Judged, judge
from tfrs_twotower.metrics.log_loss import log_loss
from tfrs_twotower.metrics.mean_average_precision import average_precision
from tfrs_twotower.metrics.mrr import reciprocal_rank
from tfrs_twotower.metrics.names import RANKING_METRICS, parse_metric, per_query
from tfrs_twotower.metrics.ndcg import ndcg
from tfrs_twotower.metrics.precision import precision
from tfrs_twotower.metrics.ragged import Ragged
from tfrs_twotower.metrics.re_ranking import order_again
from tfrs_twotower.metrics.recall import recall
from tfrs_twotower.metrics.roc import auc, gauc
from tfrs_twotower.metrics.top_k import exact_top_k

__all__ = [
    "RANKING_METRICS",
    "GroundTruth",
    "Judged",
    "Ragged",
    "auc",
    "average_popularity",
    "average_precision",
    "coverage",
    "exact_top_k",
    "gauc",
    "hit_rate",
    "judge",
    "log_loss",
    "ndcg",
    "order_again",
    "parse_metric",
    "per_query",
    "popularity_lift",
    "precision",
    "recall",
    "reciprocal_rank",
]
