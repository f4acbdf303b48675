import numpy as np
import tensorflow as tf

from tfrs_twotower.training import optimizers as gradients
from tfrs_twotower.training.optimizers import clip, settle


def repeated():
    return tf.IndexedSlices(
        tf.constant([[3.0], [1.0], [1.0]]), tf.constant([2, 0, 2]), tf.constant([3, 1])
    )


def test_a_small_tables_gradient_becomes_dense():
    dense = settle(repeated(), tf.Variable(tf.zeros([3, 1])))
    np.testing.assert_array_equal(dense, [[1.0], [0.0], [3.0 + 1.0]])


def test_a_large_tables_gradient_keeps_distinct_rows(monkeypatch):
    monkeypatch.setattr(gradients, "SPARSE_ROWS", 2)
    rows = settle(repeated(), tf.Variable(tf.zeros([3, 1])))
    np.testing.assert_array_equal(rows.indices, [2, 0])
    np.testing.assert_array_equal(rows.values, [[4.0], [1.0]])


def test_both_forms_have_the_same_norm(monkeypatch):
    table = tf.Variable(tf.zeros([3, 1]))
    dense = settle(repeated(), table)
    monkeypatch.setattr(gradients, "SPARSE_ROWS", 2)
    for gradient in (dense, settle(repeated(), table)):
        _, norm = clip([gradient], None)
        np.testing.assert_allclose(norm, np.sqrt(4.0**2 + 1.0**2), rtol=1e-6)


def test_clipping_scales_all_gradients_together():
    clipped, norm = clip([tf.constant([3.0]), tf.constant([4.0])], 1.0)
    assert float(norm) == 5.0
    np.testing.assert_allclose([float(g[0]) for g in clipped], [3 / 5, 4 / 5], rtol=1e-6)


def test_a_small_gradient_is_not_scaled_up():
    clipped, _ = clip([tf.constant([0.3])], 1.0)
    np.testing.assert_allclose(clipped[0], [0.3], rtol=1e-6)
