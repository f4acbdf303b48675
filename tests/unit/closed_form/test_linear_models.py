import numpy as np
import pytest
from scipy import sparse

from tfrs_twotower.closed_form import linear_models
from tfrs_twotower.closed_form.linear_models import inverse_of, solve
from tfrs_twotower.errors import DataError

BY_HAND = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1], [1, 1, 0]])


def weights(x, **settings):
    """B, from the scores of profiles that hold one candidate each."""
    diagonal = settings.pop("diagonal", 0.0)
    alone = sparse.identity(x.shape[1], format="csr", dtype=np.float32)
    return solve(sparse.csr_matrix(x, dtype=np.float32), **settings).model(diagonal=diagonal)(alone)


def oracle(x, l2, dropout, diagonal):
    """B by a general inverse, in its own words (Moon et al. 2023, with the multipliers mu)."""
    gram = x.T @ x
    penalty = l2 + dropout / (1 - dropout) * np.diag(gram)
    p = np.linalg.inv(gram + np.diag(penalty))
    mu = np.maximum(0, (1 - diagonal) / np.diag(p) - penalty)
    return np.eye(len(gram)) - p @ np.diag(penalty + mu)


def test_three_candidates_by_hand():
    """X'X + I = [[5, 3, 2], [3, 5, 2], [2, 2, 4]]: its inverse is [[16, -8, -4], ..] / 48.

    With dropout 1/2 the diagonal is doubled: X'X + I + diag(X'X) = [[9, 3, 2], [3, 9, 2], [2, 2,
    7]], whose inverse is [[59, -17, -12], [-17, 59, -12], [-12, -12, 72]] / 456.
    """
    expected = [[0, 1 / 2, 1 / 4], [1 / 2, 0, 1 / 4], [1 / 4, 1 / 4, 0]]
    np.testing.assert_allclose(weights(BY_HAND, l2=1), expected, atol=1e-6)
    expected = [[0, 17 / 59, 12 / 72], [17 / 59, 0, 12 / 72], [12 / 59, 12 / 59, 0]]
    np.testing.assert_allclose(weights(BY_HAND, l2=1, dropout=0.5), expected, atol=1e-6)
    # A diagonal of .3 instead of 0 scales every column by .7.
    limited = 0.7 * np.array(expected) + 0.3 * np.eye(3)
    actual = weights(BY_HAND, l2=1, dropout=0.5, diagonal=0.3)
    np.testing.assert_allclose(actual, limited, atol=1e-6)


@pytest.mark.parametrize(("queries", "candidates"), [(40, 12), (12, 40), (25, 25)])
@pytest.mark.parametrize("diagonal", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_agrees_with_a_general_inverse(queries, candidates, dropout, diagonal):
    x = (np.random.default_rng(queries).random((queries, candidates)) < 0.2).astype(float)
    x[3] = 0  # a query without interactions
    x[:, [0, 5]] = 0  # candidates that nobody chose
    actual = weights(x, l2=2.5, dropout=dropout, diagonal=diagonal)
    expected = oracle(x, 2.5, dropout, diagonal)
    expected[:, [0, 5]] = 0
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    assert np.all(np.diag(actual) <= diagonal + 1e-6)


@pytest.mark.parametrize("shape", [(30, 80), (80, 30)])
def test_both_spaces_give_the_same_numbers(shape):
    x = (np.random.default_rng(0).random(shape) < 0.15).astype(np.float32)
    chosen = sparse.csr_matrix(x[:, x.any(axis=0)])
    penalty = 1.0 + np.random.default_rng(1).random(chosen.shape[1])
    by_candidates = linear_models.InverseOfCandidates(chosen, penalty)
    by_queries = linear_models.InverseOfQueries(chosen, penalty)
    np.testing.assert_allclose(by_queries.diagonal, by_candidates.diagonal, rtol=1e-9)
    profiles = chosen[:7]
    np.testing.assert_allclose(by_queries.after(profiles), by_candidates.after(profiles), atol=1e-9)


@pytest.mark.parametrize("shape", [(30, 80), (80, 30)])
def test_large_matrices_in_single_precision_differ_little(monkeypatch, shape):
    x = (np.random.default_rng(0).random(shape) < 0.15).astype(float)
    exact = weights(x, l2=3.0, dropout=0.2)
    monkeypatch.setattr(linear_models, "SMALL_ORDER", 0)
    np.testing.assert_allclose(weights(x, l2=3.0, dropout=0.2), exact, atol=1e-4)


def test_a_profile_is_the_weighted_sum_of_its_candidates():
    x = (np.random.default_rng(0).random((30, 9)) < 0.4).astype(np.float32)
    profile = np.array([[0, 1, 0, 0.5, 0, 0, 0.25, 0, 0]], np.float32)
    model = solve(sparse.csr_matrix(x), l2=3.0).model()
    expected = profile @ weights(x, l2=3.0)
    np.testing.assert_allclose(model(sparse.csr_matrix(profile)), expected, atol=1e-6)


def test_the_blocks_of_a_large_inverse_are_mirrored():
    half = np.random.default_rng(0).random((1_500, 1_500))
    system = half @ half.T / 1_500 + np.eye(1_500)
    inverse = inverse_of(np.asfortranarray(system), "it")
    np.testing.assert_array_equal(inverse, inverse.T)
    np.testing.assert_allclose(system @ inverse, np.eye(1_500), atol=1e-9)


def test_a_matrix_that_cannot_be_inverted_is_named():
    chosen = sparse.csr_matrix(np.ones((5, 3), np.float32))
    with pytest.raises(DataError, match=r"penalty of 1e-300 and more cannot be .* raise this L2"):
        solve(chosen, l2=1e-300)
