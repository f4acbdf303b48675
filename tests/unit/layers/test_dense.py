import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.layers.bodies import DenseLayer
from tfrs_twotower.layers.hiding import Hiding
from tfrs_twotower.layers.initial import WeightMaker


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("relu", [1 * 2 + 1 * 1 + 0.5, 0.0]), ("tanh", [np.tanh(3.5), np.tanh(-3.0)])],
)
def test_by_hand(activation, expected):
    layer = DenseLayer(WeightMaker(0), 3, 2, activation, 0.0, "dense_0")
    kernel, bias = sorted(layer.variables, key=lambda variable: -len(variable.shape))
    kernel.assign([[2.0, 0.0], [1.0, 0.0], [0.0, -3.0]])
    bias.assign([0.5, 0.0])
    actual = layer(tf.constant([[1.0, 1.0, 1.0]]), None)
    np.testing.assert_allclose(actual, [expected], rtol=1e-6)


def test_a_zero_row_has_a_direction():
    layer = DenseLayer(WeightMaker(0), 3, 8, "relu", 0.0, "dense_0")
    assert np.any(layer(tf.zeros([1, 3]), None))


def test_a_new_relu_layer_keeps_the_size():
    vectors = tf.random.stateless_normal([200, 300], [1, 1])
    out = DenseLayer(WeightMaker(0), 300, 300, "relu", 0.0, "dense_0")(vectors, None)
    assert float(tf.reduce_mean(out**2)) == pytest.approx(1.0, rel=0.1)


def test_dropout_acts_in_training_only():
    layer = DenseLayer(WeightMaker(0), 8, 8, "tanh", 0.5, "dense_0")
    vectors = tf.random.stateless_normal([64, 8], [1, 1])
    whole, trained = layer(vectors, None).numpy(), layer(vectors, Hiding(1, "query")).numpy()
    kept = trained != 0
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_allclose(trained[kept], 2 * whole[kept], rtol=1e-5)
