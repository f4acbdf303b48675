from .order import (
    LOWEST_SCORE,
    MISSING_ROW,
    ExactLists,
    FloatArray,
    Overlap,
    RowArray,
    exact_top_k,
    overlaps,
    re_rank,
    top_k_rows,
)
from .ragged import GroundTruth, Ragged, distinct_pairs

__all__ = [
    "LOWEST_SCORE",
    "MISSING_ROW",
    "ExactLists",
    "FloatArray",
    "GroundTruth",
    "Overlap",
    "Ragged",
    "RowArray",
    "distinct_pairs",
    "exact_top_k",
    "overlaps",
    "re_rank",
    "top_k_rows",
]
