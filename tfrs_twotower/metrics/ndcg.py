"""Normalised discounted cumulative gain, with linear gains."""

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.metrics.judging import Judged


def ndcg(judged: Judged, k: int) -> NDArray[np.float64]:
    """DCG@k / ideal DCG@k, where DCG@k = sum over ranks r <= k of gain_r / log2(r + 1).

    The gain is linear, as in trec_eval and in ir_measures' `nDCG` (not 2^gain - 1). The ideal
    list holds the best min(k, |relevant|) gains.

    Returns:
        `[num_queries]`; 0 for an empty query.
    """
    judged.hits(k)
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    gained = judged.gains[:, :k] @ discount
    ideal = judged.ideal_gains[:, :k] @ discount
    return np.divide(gained, ideal, out=np.zeros(len(judged)), where=ideal > 0)
