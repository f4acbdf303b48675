import numpy as np
import pytest
import tensorflow as tf
from scipy import sparse

from tfrs_twotower.training.elsa import elsa_loss, elsa_vectors


def test_the_loss_by_hand():
    """A = [(1, 0), (1, 0), (0, 1)] up to length, x = (1, 0, 0): A A' x - x = (0, 1, 0).

    It is of unit length and orthogonal to x, so the squared distance is 2. For x = (1, 1, 0) the
    scores are (1, 1, 0), which point where x does.
    """
    vectors = tf.constant([[2.0, 0.0], [3.0, 0.0], [0.0, 0.5]])
    assert float(elsa_loss(vectors, tf.constant([[1.0, 0.0, 0.0]]))) == pytest.approx(2.0)
    both = tf.constant([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]])
    assert float(elsa_loss(vectors, both)) == pytest.approx(1.0, abs=1e-6)


def test_the_loss_equals_an_oracle():
    random = np.random.default_rng(0)
    a, x = random.normal(size=(9, 4)), (random.random((5, 9)) < 0.4).astype(float)
    x[:, 0] = 1.0
    unit = a / np.linalg.norm(a, axis=1, keepdims=True)
    y = x @ (unit @ unit.T - np.eye(9))
    distances = y / np.linalg.norm(y, axis=1, keepdims=True) - x / np.linalg.norm(
        x, axis=1, keepdims=True
    )
    expected = np.square(distances).sum(axis=1).mean()
    actual = elsa_loss(tf.constant(a, tf.float32), tf.constant(x, tf.float32))
    assert float(actual) == pytest.approx(expected, rel=1e-5)


def test_candidates_that_are_chosen_together_find_each_other():
    random = np.random.default_rng(1)
    clusters = np.arange(41) % 4
    likes = clusters == random.integers(0, 4, (300, 1))
    chosen = (random.random((300, 41)) < np.where(likes, 0.4, 0.02)).astype(np.float32)
    chosen[:, 40] = 0.0
    vectors = elsa_vectors(sparse.csr_matrix(chosen), rank=8, epochs=40, seed=3)
    np.testing.assert_allclose(np.linalg.norm(vectors[:40], axis=1), 1.0, atol=1e-5)
    assert not vectors[40].any()
    near = vectors[:40] @ vectors[:40].T - np.eye(40)
    same = clusters[:40, None] == clusters[None, :40]
    assert near[same & ~np.eye(40, dtype=bool)].mean() > near[~same].mean() + 0.3
    again = elsa_vectors(sparse.csr_matrix(chosen), rank=8, epochs=40, seed=3)
    np.testing.assert_array_equal(vectors, again)
