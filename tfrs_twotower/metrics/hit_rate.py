"""Hit rate: whether anything relevant is found."""

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.metrics.judging import Judged


def hit_rate(judged: Judged, k: int) -> NDArray[np.float64]:
    """1 if at least one of the first k candidates is relevant, else 0 (TREC's Success@k).

    Returns:
        `[num_queries]`.
    """
    return np.asarray(judged.hits(k).any(axis=1), np.float64)
