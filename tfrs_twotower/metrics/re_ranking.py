"""Candidates that were retrieved, in the order of new scores."""

import numpy as np
from numpy.typing import NDArray


def order_again(rows: NDArray[np.int64], scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """The same rows: score descending, then row ascending; -1 last.

    Args:
        rows: `[num_queries, n]`, -1 where there is no candidate.
        scores: `[num_queries, n]`; those at -1 are not read.

    Raises:
        ValueError: the score of a candidate is NaN.
    """
    absent = rows < 0
    if np.isnan(scores[~absent]).any():
        raise ValueError("a score is NaN; a ranking needs a number for every candidate")
    falling = np.where(absent, np.inf, -scores)
    order = np.lexsort((rows, falling, absent), axis=1)
    return np.take_along_axis(rows, order, axis=1)
