import numpy as np
import pytest
import tensorflow as tf

from tests.reference import losses as reference
from tfrs_twotower.config import OptimizerConfig
from tfrs_twotower.training import optimizers
from tfrs_twotower.training.optimizers import make_optimizer


@pytest.fixture
def _small_is_large(monkeypatch):
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


@pytest.mark.usefixtures("_small_is_large")
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
