import numpy as np
import pytest
import tensorflow as tf

from tests.reference import losses as reference
from tfrs_twotower.config import OptimizerConfig
from tfrs_twotower.training import optimizers
from tfrs_twotower.training.optimizers import aggregate_gradient, clip, make_optimizer


def repeated():
    return tf.IndexedSlices(
        tf.constant([[3.0], [1.0], [1.0]]), tf.constant([2, 0, 2]), tf.constant([3, 1])
    )


def test_a_small_tables_gradient_becomes_dense():
    dense = aggregate_gradient(repeated(), tf.Variable(tf.zeros([3, 1])))
    np.testing.assert_array_equal(dense, [[1.0], [0.0], [3.0 + 1.0]])


def test_a_large_tables_gradient_keeps_distinct_rows(monkeypatch):
    monkeypatch.setattr(optimizers, "SPARSE_ROWS", 2)
    rows = aggregate_gradient(repeated(), tf.Variable(tf.zeros([3, 1])))
    np.testing.assert_array_equal(rows.indices, [2, 0])
    np.testing.assert_array_equal(rows.values, [[4.0], [1.0]])


def test_both_forms_have_the_same_norm(monkeypatch):
    table = tf.Variable(tf.zeros([3, 1]))
    dense = aggregate_gradient(repeated(), table)
    monkeypatch.setattr(optimizers, "SPARSE_ROWS", 2)
    for gradient in (dense, aggregate_gradient(repeated(), table)):
        _, norm = clip([gradient], None)
        np.testing.assert_allclose(norm, np.sqrt(4.0**2 + 1.0**2), rtol=1e-6)


def test_clipping_scales_all_gradients_together():
    clipped, norm = clip([tf.constant([3.0]), tf.constant([4.0])], 1.0)
    assert float(norm) == 5.0
    np.testing.assert_allclose([float(g[0]) for g in clipped], [3 / 5, 4 / 5], rtol=1e-6)


def test_a_small_gradient_is_not_scaled_up():
    clipped, _ = clip([tf.constant([0.3])], 1.0)
    np.testing.assert_allclose(clipped[0], [0.3], rtol=1e-6)


@pytest.fixture
def _small_tables_are_sparse(monkeypatch):
    monkeypatch.setattr(optimizers, "SPARSE_ROWS", 2)


def adamw(decay=0.0):
    config = OptimizerConfig(kind="adamw", learning_rate=0.1, weight_decay=decay)
    return make_optimizer(config)


def slices(values, rows, num_rows=3):
    return tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant([num_rows, 1]))


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_dense_updates_equal_the_reference(decay):
    matrix = tf.Variable([[2.0]])
    optimizer = adamw(decay)
    gradients = [0.5, -1.0, 0.25]
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant([[gradient]]), matrix)])
    expected = reference.adamw(2.0, gradients, rate=0.1, decay=decay)
    np.testing.assert_allclose(matrix, [[expected]], rtol=1e-5)


@pytest.mark.usefixtures("_small_tables_are_sparse")
@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_lazy_rows_equal_the_reference_and_others_stay(decay):
    table = tf.Variable([[1.0], [2.0], [3.0]])
    optimizer = adamw(decay)
    optimizer.apply_gradients([(slices([[0.5], [1.0]], [0, 2]), table)])
    optimizer.apply_gradients([(slices([[-0.25]], [2]), table)])
    optimizer.apply_gradients([(slices([[2.0]], [0]), table)])
    first = reference.adamw(1.0, [0.5, None, 2.0], rate=0.1, decay=decay)
    third = reference.adamw(3.0, [1.0, -0.25, None], rate=0.1, decay=decay)
    np.testing.assert_allclose(table, [[first], [2.0], [third]], rtol=1e-5)


def test_vectors_and_scalars_do_not_decay():
    bias, temperature, kernel = tf.Variable([1.0]), tf.Variable(1.0), tf.Variable([[1.0]])
    optimizer = adamw(0.5)
    optimizer.apply_gradients([(tf.zeros_like(v), v) for v in (bias, temperature, kernel)])
    assert float(bias[0]) == 1.0
    assert float(temperature) == 1.0
    assert float(kernel[0, 0]) == pytest.approx(1.0 - 0.1 * 0.5)


def test_adagrad_moves_only_the_rows_it_is_given():
    table = tf.Variable([[1.0], [2.0], [3.0]])
    optimizer = make_optimizer(OptimizerConfig(kind="adagrad", learning_rate=0.1))
    optimizer.apply_gradients([(slices([[2.0]], [1]), table)])
    moved = 2.0 - 0.1 * 2.0 / np.sqrt(0.1 + 2.0**2)
    np.testing.assert_allclose(table, [[1.0], [moved], [3.0]], rtol=1e-5)


def test_the_rate_can_be_set_before_each_step():
    kernel = tf.Variable([[1.0]])
    optimizer = adamw()
    optimizer.learning_rate = 0.0
    optimizer.apply_gradients([(tf.constant([[1.0]]), kernel)])
    assert float(kernel[0, 0]) == 1.0
