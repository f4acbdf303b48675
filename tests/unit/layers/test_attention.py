import numpy as np
import pytest
import tensorflow as tf

from tests.reference import bert as reference
from tfrs_twotower.layers.initial import WeightMaker
from tfrs_twotower.layers.transformer import SelfAttention


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_matches_reference_and_hides_padding(num_heads):
    layer = SelfAttention(WeightMaker(3), 8, num_heads)
    random = np.random.default_rng(num_heads)
    for variable in layer.variables:
        variable.assign(random.normal(size=variable.shape))
    weights = {variable.name.removesuffix(":0"): variable.numpy() for variable in layer.variables}

    def dense(part):
        return weights[f"{part}.kernel"], weights.get(f"{part}.bias", 0.0)

    vectors = random.normal(size=(1, 5, 8)).astype(np.float32)
    present = np.array([[True, True, True, False, False]])
    parts = [dense(part) for part in ("query", "key", "value", "output")]
    expected = reference.attention(vectors[0, :3], *parts, num_heads)
    actual = layer(tf.constant(vectors), tf.constant(present))
    np.testing.assert_allclose(actual[0, :3], expected, rtol=1e-4, atol=1e-5)


def test_nothing_present_is_finite():
    layer = SelfAttention(WeightMaker(3), 4, 2)
    assert np.isfinite(layer(tf.ones([2, 3, 4]), tf.zeros([2, 3], tf.bool))).all()
