"""Mean reciprocal rank: how soon the first relevant candidate comes."""

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.metrics.judging import Judged


def reciprocal_rank(judged: Judged, k: int) -> NDArray[np.float64]:
    """1 / rank of the first relevant candidate if that rank is at most k, else 0.

    Returns:
        `[num_queries]`; its mean is MRR@k.
    """
    hits = judged.hits(k)
    return np.where(hits.any(axis=1), 1.0 / (1.0 + hits.argmax(axis=1)), 0.0)
