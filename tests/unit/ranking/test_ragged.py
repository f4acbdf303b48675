import numpy as np

from tfrs_twotower.ranking.ragged import Ragged, distinct_pairs


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


def test_lists_of_lengths_by_hand():
    """Also lists without rows, at both ends."""
    lists = Ragged.of_lengths(np.array([0, 2, 0, 1, 0]), np.array([4, 2, 7], np.int32))
    assert [lists[query].tolist() for query in range(len(lists))] == [[], [4, 2], [], [7], []]
    assert lists.offsets.dtype == lists.values.dtype == np.int64
