import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import finite_differences, gradient_of
from tests.reference import dat as reference
from tfrs_twotower.losses.list_losses import category_alignment, mimic

AUGMENTED = [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]
OTHER_TOWER = [[0.0, 1.0], [1.0, 0.0], [0.6, 0.8]]


def test_mimic_by_hand():
    # (1 + 1), gated away, 0.1^2 + 0.3^2: 2.1 over three pairs.
    losses = mimic(tf.constant(AUGMENTED), tf.constant(OTHER_TOWER), labels=tf.constant([1, 0, 1]))
    np.testing.assert_allclose(losses, [2.0, 0.0, 0.1], rtol=1e-6)
    np.testing.assert_allclose(tf.reduce_mean(losses), 0.7, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_mimic_equals_the_gated_form_of_the_paper(seed):
    random = np.random.default_rng(seed)
    augmented, other = random.normal(size=(2, 6, 4))
    labels = random.integers(0, 2, 6)
    expected = reference.gated_mimic(augmented, other, labels)
    losses = mimic(tf.constant(augmented), tf.constant(other), labels=tf.constant(labels))
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


def test_mimic_without_labels_takes_all_pairs_as_positive():
    augmented, other = tf.constant(AUGMENTED), tf.constant(OTHER_TOWER)
    np.testing.assert_array_equal(
        mimic(augmented, other), mimic(augmented, other, labels=tf.ones([3]))
    )


def test_the_mimic_loss_moves_only_the_augmented_vectors():
    augmented, other = np.random.default_rng(0).normal(size=(2, 3, 4))
    labels = tf.constant([1.0, 0.0, 1.0], tf.float64)

    def mean(a, p):
        return tf.reduce_mean(mimic(a, p, labels=labels))

    of_augmented, of_other = gradient_of(mean, augmented, other)
    np.testing.assert_array_equal(of_other, 0.0)
    by_hand = 2 / 3 * labels.numpy()[:, None] * (augmented - other)
    np.testing.assert_allclose(of_augmented, by_hand, rtol=1e-12)
    numeric = finite_differences(lambda a: mean(a, tf.constant(other)), augmented)[0]
    np.testing.assert_allclose(of_augmented, numeric, atol=1e-8)
    np.testing.assert_array_equal(of_augmented[1], 0.0)


def test_descent_of_the_mimic_loss_ends_at_the_mean_of_the_positives():
    random = np.random.default_rng(1)
    candidates = random.normal(size=(12, 4)).astype(np.float32)
    candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)
    queries = np.repeat([0, 1, 2], [1, 4, 7])
    table = tf.Variable(random.normal(size=(3, 4)), dtype=tf.float32)
    for _ in range(400):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(mimic(tf.gather(table, queries), tf.constant(candidates)))
        table.assign_sub(0.5 * tf.convert_to_tensor(tape.gradient(loss, table)))
    means = [candidates[queries == query].mean(axis=0) for query in range(3)]
    np.testing.assert_allclose(table, means, atol=1e-3)
    norms = np.linalg.norm(table, axis=1)
    assert norms[0] == pytest.approx(1.0, abs=1e-3)
    assert (norms[1:] < 1.0).all()


LARGEST_CATEGORY = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
SMALLER_CATEGORY = [[1.0, 0.0], [-1.0, 0.0]]


def align(embeddings, categories, rows=None, *, scale_by_dim=False, stop_major_gradient=False):
    rows = range(len(categories)) if rows is None else rows
    return category_alignment(
        tf.convert_to_tensor(embeddings),
        tf.cast(categories, tf.int32),
        tf.convert_to_tensor(rows),
        scale_by_dim=scale_by_dim,
        stop_major_gradient=stop_major_gradient,
    )


def categorised_rows(seed, dtype=np.float64):
    random = np.random.default_rng(seed)
    rows = random.integers(0, 20, 30)
    vectors = random.normal(size=(20, 5)).astype(dtype)
    categories = random.integers(0, 7, 20)
    return vectors[rows], categories[rows], rows


def test_category_alignment_by_hand():
    # Covariances I/3 and [[2, 0], [0, 0]]: (2 - 1/3)^2 + (1/3)^2 = 26/9.
    embeddings, categories = tf.constant(LARGEST_CATEGORY + SMALLER_CATEGORY), [2, 2, 2, 2, 3, 3]
    np.testing.assert_allclose(align(embeddings, categories), 26 / 9, rtol=1e-6)
    scaled = align(embeddings, categories, scale_by_dim=True)
    np.testing.assert_allclose(scaled, 2 * 26 / 9, rtol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_category_alignment_equals_the_reference(seed):
    embeddings, categories, rows = categorised_rows(seed)
    expected = reference.category_alignment(embeddings, categories, rows)
    np.testing.assert_allclose(align(embeddings, categories, rows), expected, rtol=1e-10)


def test_identical_covariances_cost_nothing():
    block = np.random.default_rng(0).normal(size=(4, 3))
    shift = np.array([1.0, -2.0, 3.0])
    embeddings = np.concatenate([block, block + shift, -block])
    loss = align(embeddings, np.repeat([2, 5, 9], 4))
    np.testing.assert_allclose(loss, 0.0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_shifting_a_category_changes_nothing(seed):
    embeddings, categories, rows = categorised_rows(seed)
    shifts = np.random.default_rng(seed).normal(size=(7, 5))
    shifted = align(embeddings + shifts[categories], categories, rows)
    np.testing.assert_allclose(shifted, align(embeddings, categories, rows), rtol=1e-9)


def test_category_alignment_does_not_depend_on_the_order_of_the_batch():
    embeddings, categories, rows = categorised_rows(1)
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_allclose(
        align(embeddings[order], categories[order], rows[order]),
        align(embeddings, categories, rows),
        rtol=1e-10,
    )


def test_a_repeated_candidate_counts_once_in_its_category():
    embeddings, categories, rows = categorised_rows(2)
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
def test_fewer_than_two_usable_categories_cost_nothing(categories):
    embeddings = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    loss = align(embeddings, categories)
    np.testing.assert_allclose(loss, 0.0, atol=1e-6)
    gradient = gradient_of(lambda e: align(e, categories), embeddings)[0]
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)


def test_category_alignment_of_an_empty_batch_is_zero():
    assert align(np.zeros((0, 3), np.float32), []).numpy() == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_of_category_alignment_equals_finite_differences(seed):
    embeddings = np.random.default_rng(seed).normal(size=(9, 3))
    categories = [2, 3, 2, 4, 3, 2, 4, 5, 1]
    analytic = gradient_of(lambda e: align(e, categories), embeddings)[0]
    numeric = finite_differences(lambda e: align(e, categories), embeddings)[0]
    assert np.abs(analytic).max() > 0
    np.testing.assert_allclose(analytic, numeric, rtol=1e-4, atol=1e-6)


def test_stop_major_gradient_does_not_move_the_largest_category():
    embeddings, categories = np.array(LARGEST_CATEGORY + SMALLER_CATEGORY), [2, 2, 2, 2, 3, 3]
    free = gradient_of(lambda e: align(e, categories), embeddings)[0]
    stopped = gradient_of(lambda e: align(e, categories, stop_major_gradient=True), embeddings)[0]
    assert np.abs(free[:4]).max() > 0
    np.testing.assert_array_equal(stopped[:4], 0.0)
    np.testing.assert_allclose(stopped[4:], free[4:], rtol=1e-12)
    assert align(embeddings, categories, stop_major_gradient=True) == align(embeddings, categories)


def test_category_alignment_gives_the_same_answer_in_a_graph():
    embeddings, categories, rows = categorised_rows(3, np.float32)
    graph = tf.function(align, autograph=False)
    np.testing.assert_allclose(
        graph(embeddings, categories, rows), align(embeddings, categories, rows), rtol=1e-5
    )
