"""Room `ranking`: order, top k, overlap and ragged lists, in NumPy only, without files."""

from tfrs_twotower.ranking.exact import (
    LOWEST_SCORE,
    MISSING_ROW,
    FloatArray,
    RowArray,
    exact_top_k,
    mean_overlap,
)
from tfrs_twotower.ranking.order import re_rank, top_k_rows
from tfrs_twotower.ranking.ragged import GroundTruth, Ragged, distinct_pairs

__all__ = [
    "LOWEST_SCORE",
    "MISSING_ROW",
    "FloatArray",
    "GroundTruth",
    "Ragged",
    "RowArray",
    "distinct_pairs",
    "exact_top_k",
    "mean_overlap",
    "re_rank",
    "top_k_rows",
]
