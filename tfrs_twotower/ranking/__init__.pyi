from .order import (
    LOWEST_SCORE,
    MISSING_ROW,
    FloatArray,
    RowArray,
    exact_top_k,
    mean_overlap,
    re_rank,
    top_k_rows,
)
from .ragged import GroundTruth, Ragged, distinct_pairs

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
