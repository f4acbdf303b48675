import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import finite_differences, gradient_of
from tests.reference import dat as reference
from tfrs_twotower.losses.regularisers import category_alignment

MAJOR = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
OTHER = [[1.0, 0.0], [-1.0, 0.0]]


def align(embeddings, categories, rows=None, *, scale_by_dim=False, stop_major_gradient=False):
    rows = range(len(categories)) if rows is None else rows
    return category_alignment(
        tf.convert_to_tensor(embeddings),
        tf.cast(categories, tf.int32),
        tf.convert_to_tensor(rows),
        scale_by_dim=scale_by_dim,
        stop_major_gradient=stop_major_gradient,
    )


def a_case(seed, dtype=np.float64):
    random = np.random.default_rng(seed)
    rows = random.integers(0, 20, 30)
    vectors = random.normal(size=(20, 5)).astype(dtype)
    categories = random.integers(0, 7, 20)
    return vectors[rows], categories[rows], rows


def test_property_2_10_4_golden():
    # Covariances I/3 and [[2, 0], [0, 0]]: (2 - 1/3)^2 + (1/3)^2 = 26/9.
    embeddings, categories = tf.constant(MAJOR + OTHER), [2, 2, 2, 2, 3, 3]
    np.testing.assert_allclose(align(embeddings, categories), 26 / 9, rtol=1e-6)
    scaled = align(embeddings, categories, scale_by_dim=True)
    np.testing.assert_allclose(scaled, 2 * 26 / 9, rtol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_reference(seed):
    embeddings, categories, rows = a_case(seed)
    expected = reference.category_alignment(embeddings, categories, rows)
    np.testing.assert_allclose(align(embeddings, categories, rows), expected, rtol=1e-10)


def test_property_2_10_4_identical_covariances_cost_nothing():
    block = np.random.default_rng(0).normal(size=(4, 3))
    shift = np.array([1.0, -2.0, 3.0])
    embeddings = np.concatenate([block, block + shift, -block])
    loss = align(embeddings, np.repeat([2, 5, 9], 4))
    np.testing.assert_allclose(loss, 0.0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_property_2_10_4_a_shift_of_a_category_changes_nothing(seed):
    embeddings, categories, rows = a_case(seed)
    shifts = np.random.default_rng(seed).normal(size=(7, 5))
    shifted = align(embeddings + shifts[categories], categories, rows)
    np.testing.assert_allclose(shifted, align(embeddings, categories, rows), rtol=1e-9)


def test_the_order_of_the_batch_does_not_matter():
    embeddings, categories, rows = a_case(1)
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_allclose(
        align(embeddings[order], categories[order], rows[order]),
        align(embeddings, categories, rows),
        rtol=1e-10,
    )


def test_a_candidate_counts_once():
    embeddings, categories, rows = a_case(2)
    _, first = np.unique(rows, return_index=True)
    once = align(embeddings[first], categories[first], rows[first])
    np.testing.assert_allclose(align(embeddings, categories, rows), once, rtol=1e-10)


@pytest.mark.parametrize(
    "categories",
    [
        [2, 2, 2, 2, 2, 2],
        [2, 2, 2, 2, 3, 4],
        [2, 3, 4, 5, 6, 7],
        [0, 0, 0, 1, 1, 1],
        [2, 2, 1, 1, 0, 0],
    ],
    ids=["one", "single minor ones", "only single ones", "none", "unknown and missing"],
)
def test_property_2_10_5_nothing_to_align(categories):
    embeddings = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    loss = align(embeddings, categories)
    np.testing.assert_allclose(loss, 0.0, atol=1e-6)
    gradient = gradient_of(lambda e: align(e, categories), embeddings)[0]
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)


def test_an_empty_batch():
    assert align(np.zeros((0, 3), np.float32), []).numpy() == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_that_of_finite_differences(seed):
    embeddings = np.random.default_rng(seed).normal(size=(9, 3))
    categories = [2, 3, 2, 4, 3, 2, 4, 5, 1]
    analytic = gradient_of(lambda e: align(e, categories), embeddings)[0]
    numeric = finite_differences(lambda e: align(e, categories), embeddings)[0]
    assert np.abs(analytic).max() > 0
    np.testing.assert_allclose(analytic, numeric, rtol=1e-4, atol=1e-6)


def test_the_largest_category_stays_if_asked():
    embeddings, categories = np.array(MAJOR + OTHER), [2, 2, 2, 2, 3, 3]
    free = gradient_of(lambda e: align(e, categories), embeddings)[0]
    held = gradient_of(lambda e: align(e, categories, stop_major_gradient=True), embeddings)[0]
    assert np.abs(free[:4]).max() > 0
    np.testing.assert_array_equal(held[:4], 0.0)
    np.testing.assert_allclose(held[4:], free[4:], rtol=1e-12)
    assert align(embeddings, categories, stop_major_gradient=True) == align(embeddings, categories)


def test_same_answer_in_a_graph():
    embeddings, categories, rows = a_case(3, np.float32)
    graph = tf.function(align, autograph=False)
    np.testing.assert_allclose(
        graph(embeddings, categories, rows), align(embeddings, categories, rows), rtol=1e-5
    )
