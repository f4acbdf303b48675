import numpy as np

from tfrs_twotower.ranking.ragged import distinct_pairs


def test_distinct_pairs_by_hand():
    # Query 0 chose 4 twice and 1; query 1 nothing; query 2 chose 0.
    offsets, rows = distinct_pairs(
        np.array([0, 2, 0, 0], np.int32),
        np.array([4, 0, 1, 4], np.int32),
        num_queries=3,
        num_candidates=5,
    )
    assert offsets.tolist() == [0, 2, 2, 3]
    assert rows.tolist() == [1, 4, 0]
    assert offsets.dtype == rows.dtype == np.int64
