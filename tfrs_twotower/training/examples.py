"""How much each training example weighs."""

import numpy as np
from numpy.typing import NDArray

DAY_S = 86_400.0


def time_decay(
    timestamps: NDArray[np.int64], *, half_life_days: float, end_s: float
) -> NDArray[np.float32]:
    """2^(-age / half-life), age counted back from the end of the training window.

    Args:
        timestamps: `[num_examples]` seconds.
        half_life_days: age at which a weight is one half.
        end_s: end of the window in seconds; later examples count as of age 0.

    Returns:
        `[num_examples]` float32 in (0, 1].
    """
    age_days = np.maximum(end_s - timestamps, 0.0) / DAY_S
    return np.exp2(-age_days / half_life_days).astype(np.float32)
