"""Log loss of predicted probabilities."""

import numpy as np
from numpy.typing import NDArray

CLIP = 1e-7


def log_loss(
    labels: NDArray[np.generic], probabilities: NDArray[np.floating]
) -> NDArray[np.float64]:
    """-(y log p + (1 - y) log(1 - p)), with p clipped to [1e-7, 1 - 1e-7].

    Args:
        labels: `[num_records]`, each 0 or 1.
        probabilities: `[num_records]`, each in [0, 1].

    Returns:
        `[num_records]`; its mean is the log loss.

    Raises:
        ValueError: a probability lies outside [0, 1]. (Scores are not probabilities.)
    """
    p = np.asarray(probabilities, np.float64)
    if p.size and not (p.min() >= 0.0 and p.max() <= 1.0):
        raise ValueError(
            f"probabilities range from {p.min()} to {p.max()}; they must lie in [0, 1]: "
            "calibrate scores first"
        )
    p = np.clip(p, CLIP, 1.0 - CLIP)
    y = np.asarray(labels, np.float64)
    return -(y * np.log(p) + (1.0 - y) * np.log1p(-p))
