import numpy as np
import pytest
import tensorflow as tf

from tests.reference import inttower as reference
from tfrs_twotower.layers.bodies import SqueezeExcitation
from tfrs_twotower.layers.initial import WeightMaker


def kernels(layer):
    named = {variable.name: variable for variable in layer.variables}
    return named["inner.kernel:0"], named["outer.kernel:0"]


def test_by_hand():
    layer = SqueezeExcitation(WeightMaker(0), 3)
    inner, outer = kernels(layer)
    inner.assign([[1.0], [-2.0], [0.5]])
    outer.assign([[2.0, -1.0, 0.0]])
    fields = tf.constant([[[1.0, 3.0], [0.5, -0.5], [2.0, 2.0]], [[0.0, 0.0], [3.0, 1.0], [0, 0]]])
    # Means 2, 0, 2 excite 1 * 2 + 0.5 * 2 = 3; means 0, 2, 0 excite relu(-4) = 0.
    np.testing.assert_allclose(layer.weights_of(fields), [[2 * 3, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(layer(fields)[0], [[7, 21], [0.5, -0.5], [2, 2]])
    np.testing.assert_allclose(layer(fields)[1], fields[1])


@pytest.mark.parametrize(("num_fields", "units"), [(2, 1), (3, 1), (6, 2), (7, 2)])
def test_matches_the_oracle_and_has_the_papers_size(num_fields, units):
    layer = SqueezeExcitation(WeightMaker(0), num_fields)
    inner, outer = kernels(layer)
    assert inner.shape == (num_fields, units)
    assert outer.shape == (units, num_fields)
    random = np.random.default_rng(num_fields)
    for kernel in (inner, outer):
        kernel.assign(random.normal(size=kernel.shape))
    fields = random.normal(size=(20, num_fields, 4)).astype(np.float32)
    for row, gated in zip(fields, layer(fields), strict=True):
        expected = reference.squeeze_excitation(row, inner.numpy(), outer.numpy())
        np.testing.assert_allclose(gated, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_no_field_of_a_new_gate_is_silent_for_good(seed):
    layer = SqueezeExcitation(WeightMaker(seed), 2)
    fields = tf.random.stateless_normal([64, 2, 4], [seed, 1])
    weights = layer.weights_of(fields).numpy()
    assert (weights >= 0).all()
    assert (weights.max(axis=0) > 0).all()
