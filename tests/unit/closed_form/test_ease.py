import numpy as np
import pytest
from scipy import sparse

from tests.reference import linear_member as oracle
from tfrs_twotower.closed_form.ease import (
    binary_matrix,
    co_occurrences,
    ease_factors,
    ease_weights,
    truncated_factors,
)
from tfrs_twotower.errors import DataError


def test_a_repeated_pair_counts_once_in_the_binary_matrix():
    matrix = binary_matrix(np.array([0, 0, 1]), np.array([2, 2, 0]), 3, 3)
    np.testing.assert_array_equal(matrix.toarray(), [[0, 0, 1], [1, 0, 0], [0, 0, 0]])
    assert matrix.dtype == np.float32


def test_ease_solves_the_constrained_ridge_regression():
    """Column j is the ridge regression of candidate j on all others (Steck 2019, equation 8)."""
    x = (np.random.default_rng(0).random((50, 6)) < 0.4).astype(np.float32)
    weights = ease_weights(co_occurrences(sparse.csr_matrix(x)), 3.0)
    assert np.all(np.diag(weights) == 0)
    for target in range(6):
        others = [row for row in range(6) if row != target]
        part = x[:, others].astype(float)
        ridge = np.linalg.solve(part.T @ part + 3.0 * np.eye(5), part.T @ x[:, target])
        np.testing.assert_allclose(weights[others, target], ridge, atol=1e-5)


def test_weights_of_a_matrix_that_cannot_be_inverted_are_refused():
    with pytest.raises(
        DataError, match=r"X'X \+ 1e-300 I cannot be inverted .*raise this L2 weight"
    ):
        ease_weights(np.ones((3, 3), np.float32), 1e-300)


RANKS = (3, 10, 19, 20, 30, 1000)  # by Lanczos, by a full decomposition, more than there are


@pytest.fixture
def x():
    """60 queries, 40 candidates in four clusters, the last two never chosen."""
    random = np.random.default_rng(0)
    clusters = np.repeat(np.arange(4), 10)
    likes = np.where(clusters == random.integers(0, 4, (60, 1)), 0.5, 0.1)
    chosen = (random.random((60, 40)) < likes).astype(np.float32)
    chosen[:, 38:] = 0.0
    return chosen


def test_factors_of_two_candidates_by_hand():
    """X = [[1, 1], [1, 0]], l2 = 1: X'X + I = [[3, 1], [1, 2]], P = [[2, -1], [-1, 3]] / 5,

    B_01 = 1/5 / (3/5) = 1/3, B_10 = 1/5 / (2/5) = 1/2; XB = [[1/2, 1/3], [0, 1/3]].
    """
    x = sparse.csr_matrix(np.array([[1, 1], [1, 0]], np.float32))
    weights = np.array([[0, 1 / 3], [1 / 2, 0]])
    full = ease_factors(x, l2=1.0, rank=2)
    np.testing.assert_allclose(full.history @ full.candidates.T, weights, atol=1e-6)
    # (XB)'(XB) = [[1/4, 1/6], [1/6, 2/9]]: trace 17/36, determinant 1/36, so the eigenvalues are
    # (17 +- sqrt(145)) / 72 and the first vector is along (1/6, l - 1/4).
    value = (17 + np.sqrt(145)) / 72
    vector = np.array([1 / 6, value - 1 / 4])
    vector /= np.linalg.norm(vector)
    first = ease_factors(x, l2=1.0, rank=1)
    np.testing.assert_allclose(first.candidates[:, 0], vector, atol=1e-6)
    np.testing.assert_allclose(first.history[:, 0], weights @ vector, atol=1e-6)


@pytest.mark.parametrize("rank", RANKS)
def test_the_product_of_the_factors_equals_the_oracle(x, rank):
    factors = ease_factors(sparse.csr_matrix(x), l2=5.0, rank=rank)
    assert factors.history.shape == factors.candidates.shape == (40, min(rank, 40))
    assert factors.history.dtype == factors.candidates.dtype == np.float32
    expected = oracle.cut(x, oracle.ease(x, 5.0), rank)
    np.testing.assert_allclose(factors.history @ factors.candidates.T, expected, atol=1e-5)


def test_at_full_rank_the_queries_of_the_fit_get_the_scores_of_ease(x):
    factors = ease_factors(sparse.csr_matrix(x), l2=5.0, rank=40)
    scores = (x @ factors.history) @ factors.candidates.T
    np.testing.assert_allclose(scores, x @ oracle.ease(x, 5.0), atol=1e-4)


@pytest.mark.parametrize("rank", RANKS)
def test_a_candidate_that_nobody_chose_is_zero(x, rank):
    factors = ease_factors(sparse.csr_matrix(x), l2=5.0, rank=rank)
    assert not factors.history[38:].any()
    assert not factors.candidates[38:].any()
    assert factors.candidates[:38].any(axis=1).all()


@pytest.mark.parametrize("rank", [3, 30])
def test_permuting_the_candidates_permutes_the_scores(x, rank):
    order = np.random.default_rng(1).permutation(40)
    before = ease_factors(sparse.csr_matrix(x), l2=5.0, rank=rank)
    after = ease_factors(sparse.csr_matrix(x[:, order]), l2=5.0, rank=rank)
    np.testing.assert_allclose(
        after.history @ after.candidates.T,
        (before.history @ before.candidates.T)[np.ix_(order, order)],
        atol=1e-5,
    )
    # The signs do not depend on the order of the candidates either.
    np.testing.assert_allclose(after.candidates[:, :3], before.candidates[order, :3], atol=1e-4)


@pytest.mark.parametrize("rank", [3, 30])
def test_the_same_queries_give_the_same_bytes(x, rank):
    first = ease_factors(sparse.csr_matrix(x), l2=5.0, rank=rank)
    second = ease_factors(sparse.csr_matrix(x), l2=5.0, rank=rank)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_candidates_that_were_never_chosen_together_score_zero():
    factors = ease_factors(sparse.csr_matrix(np.eye(9, dtype=np.float32)), l2=1.0, rank=3)
    assert factors.candidates.shape == (9, 3)
    assert not factors.history.any()


def test_factors_of_a_matrix_that_cannot_be_inverted_are_refused():
    same = sparse.csr_matrix(np.ones((3, 3), np.float32))
    with pytest.raises(DataError, match=r"cannot be inverted .*raise this L2 weight"):
        ease_factors(same, l2=1e-300, rank=1)


def test_truncated_factors_of_full_rank_are_the_weights_of_ease(x):
    """Apart from the diagonal, which EASE sets to 0."""
    full = truncated_factors(sparse.csr_matrix(x), l2=5.0, rank=1000)
    assert full.history.shape == (40, 40)
    weights = full.history @ full.candidates.T
    exact = ease_weights(co_occurrences(sparse.csr_matrix(x)), 5.0)
    np.testing.assert_allclose(
        weights - np.diag(np.diag(weights)), exact, atol=1e-5 * np.abs(exact).max()
    )


@pytest.mark.parametrize("rank", [3, 10, 25])
def test_truncated_factors_equal_a_dense_oracle(x, rank):
    """P = (X'X + l2 I)^-1 of X cut to a rank, and B_ij = -P_ij / P_jj off the diagonal."""
    left, values, right = np.linalg.svd(x.astype(float), full_matrices=False)
    cut = (left[:, :rank] * values[:rank]) @ right[:rank]
    inverse = np.linalg.inv(cut.T @ cut + 5.0 * np.eye(40))
    expected = -inverse / np.diag(inverse)[None, :]
    factors = truncated_factors(sparse.csr_matrix(x), l2=5.0, rank=rank)
    off = ~np.eye(40, dtype=bool)
    actual = factors.history @ factors.candidates.T
    np.testing.assert_allclose(actual[off], expected[off], atol=1e-5)
    assert not factors.candidates[38:].any()


def test_nothing_chosen_has_no_truncated_vector():
    nothing = truncated_factors(sparse.csr_matrix((4, 6)), l2=1.0, rank=3)
    assert (nothing.history.shape, nothing.candidates.any()) == ((6, 3), False)
