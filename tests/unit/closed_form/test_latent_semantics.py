import numpy as np
import pytest
from scipy import sparse

from tfrs_twotower.closed_form.latent_semantics import leading_directions, ridge_map


def test_directions_by_hand():
    """Two texts of one word pair and one of another word: [1, 1, 0]/sqrt(2) twice, [0, 0, 1]."""
    half = np.sqrt(0.5)
    rows = sparse.csr_matrix([[half, half, 0.0], [half, half, 0.0], [0.0, 0.0, 1.0]])
    # The singular values are sqrt(2), 1 and 0: the third direction carries nothing.
    expected = np.array([[half, 0.0], [half, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(leading_directions(rows, 3, seed=1), expected, atol=1e-6)
    np.testing.assert_allclose(leading_directions(rows, 1, seed=1), expected[:, :1], atol=1e-6)


@pytest.mark.parametrize("shape", [(40, 25), (25, 40)])
@pytest.mark.parametrize("dim", [5, 24, 30])
def test_directions_span_what_a_dense_decomposition_does(shape, dim):
    random = np.random.default_rng(3)
    rows = random.random(shape) * (random.random(shape) < 0.4)
    found = leading_directions(sparse.csr_matrix(rows), dim, seed=1)
    assert found.shape == (shape[1], min(dim, 25))
    right = np.linalg.svd(rows, full_matrices=False)[2][:dim].T
    np.testing.assert_allclose(np.abs(np.sum(found * right, axis=0)), 1.0, atol=1e-4)


def test_directions_repeat_and_do_not_depend_on_the_start():
    rows = sparse.random(60, 30, 0.3, "csr", random_state=5)
    first = leading_directions(rows, 6, seed=1)
    np.testing.assert_array_equal(first, leading_directions(rows, 6, seed=1))
    np.testing.assert_allclose(first, leading_directions(rows, 6, seed=2), atol=1e-5)


def test_the_map_of_one_dimension_by_hand():
    """(2 (1 x 3) + 1 (2 x 2) + 5) / (2 (1 x 1) + 1 (2 x 2) + 5)."""
    queries, candidates = np.array([[1.0], [2.0]]), np.array([[3.0], [2.0]])
    found = ridge_map(queries, candidates, np.array([2.0, 1.0]), 5.0)
    np.testing.assert_allclose(found, [[(2 * 3 + 4 + 5) / (2 + 4 + 5)]], rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_map_is_a_least_squares_solution(seed):
    """Shrinkage to the identity is least squares with sqrt(penalty) I as more pairs."""
    random = np.random.default_rng(seed)
    queries, candidates = random.standard_normal((2, 30, 4))
    weights = random.random(30)
    root = np.sqrt(weights)[:, np.newaxis]
    more = np.sqrt(2.5) * np.eye(4)
    expected = np.linalg.lstsq(
        np.vstack([root * queries, more]), np.vstack([root * candidates, more]), rcond=None
    )[0]
    np.testing.assert_allclose(ridge_map(queries, candidates, weights, 2.5), expected, atol=1e-5)


def test_a_large_penalty_leaves_queries_where_they_are():
    random = np.random.default_rng(0)
    queries, candidates = random.standard_normal((2, 30, 4)).astype(np.float32)
    found = ridge_map(queries, candidates, np.ones(30, np.float32), 1e9)
    np.testing.assert_allclose(found, np.eye(4), atol=1e-6)
