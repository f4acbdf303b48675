"""Each query's distinct candidates, as one flat list with offsets."""

import numpy as np
from numpy.typing import NDArray


def distinct_pairs(
    query_rows: NDArray[np.integer],
    candidate_rows: NDArray[np.integer],
    *,
    num_queries: int,
    num_candidates: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Groups pairs by query; a pair that stands repeatedly counts once.

    Args:
        query_rows: `[pairs]`, in [0, num_queries).
        candidate_rows: `[pairs]`, in [0, num_candidates).
        num_queries: how many queries there are.
        num_candidates: size of the corpus.

    Returns:
        Offsets `[num_queries + 1]` into the second, and candidate rows `[distinct pairs]`,
        ascending for each query.
    """
    keys = np.unique(query_rows.astype(np.int64) * num_candidates + candidate_rows)
    lengths = np.bincount(keys // num_candidates, minlength=num_queries)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), keys % num_candidates
