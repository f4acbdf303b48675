import numpy as np
import pytest
import tensorflow as tf

from tfrs_twotower.layers.bodies import ResidualLayer
from tfrs_twotower.layers.hiding import Hiding
from tfrs_twotower.layers.initial import WeightMaker


@pytest.mark.parametrize(
    ("activation", "change"),
    [
        ("tanh", [np.tanh(1.0 * 2 + 0.5), np.tanh(-3.0)]),
        ("relu", [1.0 * 2 + 0.5, 0.0]),
    ],
)
def test_by_hand(activation, change):
    layer = ResidualLayer(WeightMaker(0), 2, activation, 0.0, "residual_0")
    kernel, bias = sorted(layer.variables, key=lambda variable: -len(variable.shape))
    kernel.assign([[2.0, 0.0], [0.0, 3.0]])
    bias.assign([0.5, 0.0])
    actual = layer(tf.constant([[1.0, -1.0]]), None)
    np.testing.assert_allclose(actual, [[1.0 + change[0], -1.0 + change[1]]], rtol=1e-6)


def test_dropout_acts_on_the_change_only_and_in_training_only():
    layer = ResidualLayer(WeightMaker(0), 8, "tanh", 0.5, "residual_0")
    vectors = tf.random.stateless_normal([64, 8], [1, 1])
    change = (layer(vectors, None) - vectors).numpy()
    trained = (layer(vectors, Hiding(1, "query")) - vectors).numpy()
    kept = np.abs(trained) > 1e-7
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_allclose(trained[kept], 2 * change[kept], rtol=1e-3, atol=1e-5)
