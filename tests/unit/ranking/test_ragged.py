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


def test_parts_are_joined_in_their_order():
    """Also a part without lists, and lists without rows."""
    parts = [Ragged.from_lists([[4, 2], []]), Ragged.from_lists([]), Ragged.from_lists([[7]])]
    joined = Ragged.joined(parts)
    assert [rows.tolist() for rows in map(joined.__getitem__, range(len(joined)))] == [
        [4, 2],
        [],
        [7],
    ]
