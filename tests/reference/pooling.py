"""NumPy oracle of masked pooling, with loops on purpose."""

import numpy as np


def mean_of_rows(table, ids, weights=None):
    """Weighted mean of table rows of each list; id 0 is padding; an empty list gives zeros."""
    means = np.zeros((len(ids), table.shape[1]))
    for row, entries in enumerate(ids):
        total = 0.0
        for position, entry in enumerate(entries):
            if entry == 0:
                continue
            weight = 1.0 if weights is None else float(weights[row, position])
            means[row] += weight * table[entry]
            total += weight
        if total > 0:
            means[row] /= total
    return means
