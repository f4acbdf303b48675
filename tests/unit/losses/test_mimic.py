import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import finite_differences, gradient_of
from tests.reference import dat as reference
from tfrs_twotower.losses.regularisers import mimic

AUGMENTED = [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]
OTHER = [[0.0, 1.0], [1.0, 0.0], [0.6, 0.8]]


def test_property_2_10_1_golden():
    # (1 + 1), gated away, 0.1^2 + 0.3^2: 2.1 over three pairs.
    losses = mimic(tf.constant(AUGMENTED), tf.constant(OTHER), labels=tf.constant([1, 0, 1]))
    np.testing.assert_allclose(losses, [2.0, 0.0, 0.1], rtol=1e-6)
    np.testing.assert_allclose(tf.reduce_mean(losses), 0.7, rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_property_2_10_1_gated_form(seed):
    random = np.random.default_rng(seed)
    augmented, other = random.normal(size=(2, 6, 4))
    labels = random.integers(0, 2, 6)
    expected = reference.gated_mimic(augmented, other, labels)
    losses = mimic(tf.constant(augmented), tf.constant(other), labels=tf.constant(labels))
    np.testing.assert_allclose(losses, expected, rtol=1e-12)


def test_without_labels_all_pairs_are_positive():
    augmented, other = tf.constant(AUGMENTED), tf.constant(OTHER)
    np.testing.assert_array_equal(
        mimic(augmented, other), mimic(augmented, other, labels=tf.ones([3]))
    )


def test_property_2_10_2_only_the_augmented_vectors_move():
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


def test_property_2_10_3_descent_ends_at_the_mean_of_the_positives():
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
