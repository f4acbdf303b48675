import numpy as np
import pytest
import tensorflow as tf

from tests.reference import bert as reference
from tests.reference import query_slots as slots_reference
from tfrs_twotower.layers.seeded import WeightMaker
from tfrs_twotower.layers.transformer import Attention, FeedForward, LayerNorm, PreNormLayer


def named(layer):
    return {variable.name.removesuffix(":0"): variable.numpy() for variable in layer.variables}


def shake(layer):
    random = np.random.default_rng(0)
    for variable in layer.variables:
        variable.assign(variable + random.normal(0, 0.3, variable.shape))


def test_layer_norm_matches_reference():
    layer = LayerNorm(WeightMaker(0), 6, 1e-3)
    shake(layer)
    x = np.random.default_rng(1).normal(size=(2, 3, 6)).astype(np.float32)
    weights = named(layer)
    expected = reference.layer_norm(x, weights["scale"], weights["offset"], 1e-3)
    np.testing.assert_allclose(layer(tf.constant(x)), expected, rtol=1e-4, atol=1e-5)


def test_feed_forward_matches_reference():
    layer = FeedForward(WeightMaker(0), 6, 10)
    shake(layer)
    x = np.random.default_rng(1).normal(size=(2, 3, 6)).astype(np.float32)
    w = named(layer)
    inner = reference.gelu(x @ w["inner.kernel"] + w["inner.bias"])
    expected = inner @ w["outer.kernel"] + w["outer.bias"]
    np.testing.assert_allclose(layer(tf.constant(x)), expected, rtol=1e-4, atol=1e-5)


def test_pre_norm_layer_matches_reference():
    layer = PreNormLayer(WeightMaker(0), 6, 2, 10, "layer_0")
    shake(layer)
    w = named(layer)
    x = np.random.default_rng(1).normal(size=(1, 4, 6)).astype(np.float32)
    dense = [
        (w[f"attention.{part}.kernel"], w.get(f"attention.{part}.bias", 0.0))
        for part in ("query", "key", "value", "output")
    ]

    def norm(value, name):
        return reference.layer_norm(value, w[f"{name}.scale"], w[f"{name}.offset"], 1e-6)

    middle = x[0] + reference.attention(norm(x[0], "attention_norm"), *dense, 2)
    inner = norm(middle, "feed_forward_norm") @ w["feed_forward.inner.kernel"]
    inner = reference.gelu(inner + w["feed_forward.inner.bias"])
    outer = inner @ w["feed_forward.outer.kernel"] + w["feed_forward.outer.bias"]
    actual = layer(tf.constant(x), tf.ones([1, 4], tf.bool))
    np.testing.assert_allclose(actual[0], middle + outer, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("num_heads", [1, 2, 4])
def test_attention_matches_reference_and_ignores_padding(num_heads):
    layer = Attention(WeightMaker(3), 8, num_heads)
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


def test_attention_over_a_source_matches_reference_and_ignores_padding():
    layer = Attention(WeightMaker(3), 8, 2)
    shake(layer)
    random = np.random.default_rng(4)
    vectors, source = random.normal(size=(1, 3, 8)), random.normal(size=(1, 5, 8))
    present = tf.constant([[True, False, True, True, False]])
    expected = slots_reference.attend(vectors[0], source[0, [0, 2, 3]], named(layer), "", 2)
    actual = layer(
        tf.constant(vectors, tf.float32), present, source=tf.constant(source, tf.float32)
    )
    np.testing.assert_allclose(actual[0], expected, rtol=1e-4, atol=1e-5)


def test_attention_to_nothing_is_finite():
    layer = Attention(WeightMaker(3), 4, 2)
    assert np.isfinite(layer(tf.ones([2, 3, 4]), tf.zeros([2, 3], tf.bool))).all()
