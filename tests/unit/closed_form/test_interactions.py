import numpy as np

from tfrs_twotower.closed_form.ease import binary_matrix


def test_a_repeated_pair_counts_once():
    matrix = binary_matrix(np.array([0, 0, 1]), np.array([2, 2, 0]), 3, 3)
    np.testing.assert_array_equal(matrix.toarray(), [[0, 0, 1], [1, 0, 0], [0, 0, 0]])
    assert matrix.dtype == np.float32
