"""Mean labels of users and items: with the answer inside, and without."""

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 5.0

Keys = NDArray[np.integer]
Floats = NDArray[np.floating]


def means_of_the_split(keys: Keys, labels: Floats) -> NDArray[np.float64]:
    """Step 3 of the script: each row gets the mean label of its key, the row's own included.

    Args:
        keys: `[rows]`, user or item of each row of one split.
        labels: `[rows]`. For the test split these are the answers.

    Returns:
        `[rows]`.
    """
    sums, counts = np.bincount(keys, labels), np.bincount(keys)
    return sums[keys] / counts[keys]


def left_out_means(keys: Keys, labels: Floats) -> NDArray[np.float64]:
    """Each row gets the smoothed mean label of the other rows of its key.

    (sum + m prior) / (count + m), where sum, count and prior do not know the row itself.
    """
    sums, counts = np.bincount(keys, labels), np.bincount(keys)
    prior = (labels.sum(dtype=np.float64) - labels) / (len(labels) - 1)
    return (sums[keys] - labels + SMOOTHING * prior) / (counts[keys] - 1 + SMOOTHING)


def means_of_others(keys: Keys, known_keys: Keys, known_labels: Floats) -> NDArray[np.float64]:
    """Each row gets the smoothed mean label of its key among known rows, to which it is none.

    A key that is not known gets the prior, the mean of all known labels.
    """
    size = int(max(keys.max(), known_keys.max())) + 1
    sums = np.bincount(known_keys, known_labels, minlength=size)
    counts = np.bincount(known_keys, minlength=size)
    prior = known_labels.mean(dtype=np.float64)
    return (sums[keys] + SMOOTHING * prior) / (counts[keys] + SMOOTHING)
