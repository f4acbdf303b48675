"""Recall at every list length."""

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.metrics import Judged


def recall_curve(judged: Judged) -> NDArray[np.float64]:
    """`[K]`: mean recall@1 .. recall@K over the queries."""
    found = np.cumsum(judged.gains > 0, axis=1)
    return np.asarray((found / np.maximum(judged.num_relevant, 1)[:, None]).mean(axis=0))
