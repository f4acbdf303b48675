"""Average precision: precision at each relevant candidate, averaged over all relevant ones."""

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.metrics.judging import Judged


def average_precision(judged: Judged, k: int) -> NDArray[np.float64]:
    """(1 / |relevant|) * sum over relevant ranks r <= k of (hits up to r) / r.

    Divided by all relevant candidates, as trec_eval does, not by min(k, |relevant|).

    Returns:
        `[num_queries]`; its mean is MAP@k. 0 for an empty query.
    """
    hits = judged.hits(k)
    precision_at = np.cumsum(hits, axis=1) / np.arange(1, k + 1)
    return (precision_at * hits).sum(axis=1) / np.maximum(judged.num_relevant, 1)
