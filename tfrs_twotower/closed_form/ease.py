"""EASE: a linear autoencoder in closed form (Steck 2019, Embarrassingly Shallow Autoencoders)."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import lapack

from tfrs_twotower.errors import DataError


def co_occurrences(matrix: sparse.csr_matrix) -> NDArray[np.float32]:
    """X'X, `[num_candidates, num_candidates]`: queries that chose both (exact below 2^24)."""
    return np.asarray((matrix.T @ matrix).todense(), np.float32)


def ease_weights(gram: NDArray[np.float32], l2: float) -> NDArray[np.float32]:
    """B of equation 8: P = (X'X + l2 I)^-1, B_ij = -P_ij / P_jj, and a diagonal of 0.

    P is symmetric and positive definite, so it is inverted by its Cholesky factor: half the work
    of a general inverse.

    Args:
        gram: `co_occurrences` of the interactions.
        l2: weight of the penalty, > 0.

    Returns:
        `[num_candidates, num_candidates]` float32. Needs 16 bytes for each pair meanwhile.

    Raises:
        DataError: the matrix cannot be inverted.
    """
    system = np.array(gram, np.float64, order="F")
    system[np.diag_indices_from(system)] += l2
    factor, failed = lapack.dpotrf(system, lower=1, clean=1, overwrite_a=1)
    if not failed:
        factor, failed = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise DataError(
            f"EASE: X'X + {l2} I cannot be inverted (LAPACK says {failed}); raise "
            "this L2 weight, or do without EASE."
        )
    diagonal = factor.diagonal().copy()
    weights = factor.astype(np.float32)
    weights[np.diag_indices_from(weights)] = 0.0
    weights += weights.T
    weights /= -diagonal[None, :].astype(np.float32)
    return weights
