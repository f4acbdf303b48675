"""Interactions as a matrix of zeros and ones."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


def binary_matrix(
    rows: NDArray[np.integer], columns: NDArray[np.integer], num_rows: int, num_columns: int
) -> sparse.csr_matrix:
    """`[num_rows, num_columns]` float32, 1 where a pair stands once or several times."""
    matrix = sparse.csr_matrix(
        (np.ones(len(rows), np.float32), (rows, columns)), shape=(num_rows, num_columns)
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
