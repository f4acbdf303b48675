import numpy as np
import pytest
import tensorflow as tf

from tests.reference import inttower as reference
from tfrs_twotower.layers.bodies import LightSE
from tfrs_twotower.layers.initial import WeightMaker

GOLDEN = tf.constant([[[1.0, 1.0], [3.0, 1.0], [0.0, 0.0]]])


def gate(kernel=None, bias=None, num_fields=3):
    layer = LightSE(WeightMaker(0), num_fields)
    weights = {variable.name: variable for variable in layer.variables}
    if kernel is not None:
        weights["kernel:0"].assign(kernel)
    if bias is not None:
        weights["bias:0"].assign(bias)
    return layer


def test_a_new_gate_weighs_all_fields_alike():
    actual = gate()(GOLDEN)
    np.testing.assert_allclose(actual, [[[4 / 3, 4 / 3], [4, 4 / 3], [0, 0]]], rtol=1e-6)


def test_property_3_11_6_golden():
    # The fields' means are 1, 2 and 0.
    exponentials = np.exp([1.0, 2.0, 0.0])
    weights = exponentials / exponentials.sum()
    np.testing.assert_allclose(weights, [0.244728, 0.665241, 0.090031], atol=1e-6)
    layer = gate(np.eye(3))
    np.testing.assert_allclose(layer.weights_of(GOLDEN), [weights], rtol=1e-6)
    np.testing.assert_allclose(layer(GOLDEN), [(1 + weights[:, None]) * GOLDEN[0]], rtol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_property_3_11_6_weights_sum_to_one_and_match_the_oracle(seed):
    random = np.random.default_rng(seed)
    kernel, bias = random.normal(size=(3, 3)), random.normal(size=3)
    fields = random.normal(size=(7, 3, 4)).astype(np.float32)
    layer = gate(kernel, bias)
    np.testing.assert_allclose(tf.reduce_sum(layer.weights_of(fields), axis=1), 1.0, rtol=1e-6)
    for row, gated, weights in zip(fields, layer(fields), layer.weights_of(fields), strict=True):
        expected = reference.light_se(row, kernel, bias)
        np.testing.assert_allclose(gated, expected[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(weights, expected[1], rtol=1e-4)
        assert (np.abs(gated) >= np.abs(row)).all()
        assert (np.abs(gated) <= 2 * np.abs(row)).all()


def test_property_3_11_6_permuting_the_fields_permutes_the_weights():
    random = np.random.default_rng(0)
    kernel, bias = random.normal(size=(3, 3)), random.normal(size=3)
    fields = random.normal(size=(5, 3, 4)).astype(np.float32)
    order = [2, 0, 1]
    weights = gate(kernel, bias).weights_of(fields).numpy()
    permuted = gate(kernel[order][:, order], bias[order]).weights_of(fields[:, order])
    np.testing.assert_allclose(permuted, weights[:, order], rtol=1e-5)


def test_a_single_field_is_doubled_whatever_the_weights():
    # Why a tower with one field leaves the gate out.
    fields = tf.random.stateless_normal([4, 1, 3], [1, 2])
    np.testing.assert_allclose(gate([[7.0]], [-3.0], num_fields=1)(fields), 2 * fields, rtol=1e-6)


def test_extreme_fields_are_finite():
    assert np.isfinite(gate(100 * np.eye(3))(1e6 * GOLDEN)).all()
