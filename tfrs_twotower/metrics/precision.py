"""Precision: the share of the list that is relevant."""

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.metrics.judging import Judged


def precision(judged: Judged, k: int) -> NDArray[np.float64]:
    """|relevant in the first k| / k; a list shorter than k is still divided by k.

    Returns:
        `[num_queries]`.
    """
    return judged.hits(k).sum(axis=1) / float(k)
