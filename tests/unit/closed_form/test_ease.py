import numpy as np
import pytest
from scipy import sparse

from tfrs_twotower.closed_form.ease import co_occurrences, ease_weights
from tfrs_twotower.errors import DataError


def test_ease_solves_the_constrained_ridge_regression():
    """Column j is the ridge regression of candidate j on all others (Steck 2019, equation 8)."""
    x = (np.random.default_rng(0).random((50, 6)) < 0.4).astype(np.float32)
    weights = ease_weights(co_occurrences(sparse.csr_matrix(x)), 3.0)
    assert np.all(np.diag(weights) == 0)
    for target in range(6):
        others = [place for place in range(6) if place != target]
        part = x[:, others].astype(float)
        ridge = np.linalg.solve(part.T @ part + 3.0 * np.eye(5), part.T @ x[:, target])
        np.testing.assert_allclose(weights[others, target], ridge, atol=1e-5)


def test_a_matrix_that_cannot_be_inverted_is_named():
    with pytest.raises(
        DataError, match=r"X'X \+ 1e-300 I cannot be inverted .*raise this L2 weight"
    ):
        ease_weights(np.ones((3, 3), np.float32), 1e-300)
