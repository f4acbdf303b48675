"""Recall: the share of the relevant candidates that is found."""

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.metrics.judging import Judged


def recall(judged: Judged, k: int) -> NDArray[np.float64]:
    """|relevant in the first k| / |relevant|, as TREC and ir_measures `R@k` define it.

    It is not divided by min(k, |relevant|): a query with more than k relevant candidates cannot
    reach 1.

    Returns:
        `[num_queries]`; 0 for an empty query.
    """
    return judged.hits(k).sum(axis=1) / np.maximum(judged.num_relevant, 1)
