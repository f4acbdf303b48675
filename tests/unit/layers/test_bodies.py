import numpy as np
import pytest
import tensorflow as tf

from tests.reference import inttower as reference
from tfrs_twotower.layers.bodies import (
    DenseLayer,
    LightSE,
    ResidualLayer,
    SqueezeExcitation,
    l2_normalise,
)
from tfrs_twotower.layers.seeded import TrainingDropout, WeightMaker


def test_l2_normalise_by_hand():
    np.testing.assert_allclose(l2_normalise(tf.constant([[3.0, 4.0]])), [[3 / 5, 4 / 5]], rtol=1e-6)


def test_l2_normalise_keeps_a_zero_row_with_a_finite_gradient():
    vectors = tf.Variable([[0.0, 0.0], [1e-20, 0.0], [1e6, 1e6]])
    with tf.GradientTape() as tape:
        unit = l2_normalise(vectors)
        loss = tf.reduce_sum(unit)
    assert np.isfinite(unit).all()
    assert unit[0].numpy().tolist() == [0.0, 0.0]
    assert np.isfinite(tape.gradient(loss, vectors)).all()


def test_l2_normalise_normalises_short_rows():
    unit = l2_normalise(tf.constant([[1e-5, 0.0]]))
    np.testing.assert_allclose(unit, [[1.0, 0.0]], rtol=1e-5)


@pytest.mark.parametrize(
    ("activation", "change"),
    [
        ("tanh", [np.tanh(1.0 * 2 + 0.5), np.tanh(-3.0)]),
        ("relu", [1.0 * 2 + 0.5, 0.0]),
    ],
)
def test_residual_layer_by_hand(activation, change):
    layer = ResidualLayer(WeightMaker(0), 2, activation, 0.0, "residual_0")
    kernel, bias = sorted(layer.variables, key=lambda variable: -len(variable.shape))
    kernel.assign([[2.0, 0.0], [0.0, 3.0]])
    bias.assign([0.5, 0.0])
    actual = layer(tf.constant([[1.0, -1.0]]), None)
    np.testing.assert_allclose(actual, [[1.0 + change[0], -1.0 + change[1]]], rtol=1e-6)


def test_residual_dropout_acts_on_the_change_only_and_in_training_only():
    layer = ResidualLayer(WeightMaker(0), 8, "tanh", 0.5, "residual_0")
    vectors = tf.random.stateless_normal([64, 8], [1, 1])
    change = (layer(vectors, None) - vectors).numpy()
    trained = (layer(vectors, TrainingDropout(1, "query")) - vectors).numpy()
    kept = np.abs(trained) > 1e-7
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_allclose(trained[kept], 2 * change[kept], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("relu", [1 * 2 + 1 * 1 + 0.5, 0.0]), ("tanh", [np.tanh(3.5), np.tanh(-3.0)])],
)
def test_dense_layer_by_hand(activation, expected):
    layer = DenseLayer(WeightMaker(0), 3, 2, activation, 0.0, "dense_0")
    kernel, bias = sorted(layer.variables, key=lambda variable: -len(variable.shape))
    kernel.assign([[2.0, 0.0], [1.0, 0.0], [0.0, -3.0]])
    bias.assign([0.5, 0.0])
    actual = layer(tf.constant([[1.0, 1.0, 1.0]]), None)
    np.testing.assert_allclose(actual, [expected], rtol=1e-6)


def test_a_dense_layer_gives_a_zero_row_a_direction():
    layer = DenseLayer(WeightMaker(0), 3, 8, "relu", 0.0, "dense_0")
    assert np.any(layer(tf.zeros([1, 3]), None))


def test_a_new_relu_layer_keeps_the_size_of_its_input():
    vectors = tf.random.stateless_normal([200, 300], [1, 1])
    out = DenseLayer(WeightMaker(0), 300, 300, "relu", 0.0, "dense_0")(vectors, None)
    assert float(tf.reduce_mean(out**2)) == pytest.approx(1.0, rel=0.1)


def test_dense_dropout_acts_in_training_only():
    layer = DenseLayer(WeightMaker(0), 8, 8, "tanh", 0.5, "dense_0")
    vectors = tf.random.stateless_normal([64, 8], [1, 1])
    whole = layer(vectors, None).numpy()
    trained = layer(vectors, TrainingDropout(1, "query")).numpy()
    kept = trained != 0
    assert 0.3 < kept.mean() < 0.7
    np.testing.assert_allclose(trained[kept], 2 * whole[kept], rtol=1e-5)


THREE_FIELDS = tf.constant([[[1.0, 1.0], [3.0, 1.0], [0.0, 0.0]]])


def light_se(kernel=None, bias=None, num_fields=3):
    layer = LightSE(WeightMaker(0), num_fields)
    weights = {variable.name: variable for variable in layer.variables}
    if kernel is not None:
        weights["kernel:0"].assign(kernel)
    if bias is not None:
        weights["bias:0"].assign(bias)
    return layer


def test_a_new_light_se_weighs_all_fields_alike():
    actual = light_se()(THREE_FIELDS)
    np.testing.assert_allclose(actual, [[[4 / 3, 4 / 3], [4, 4 / 3], [0, 0]]], rtol=1e-6)


def test_light_se_by_hand():
    # The fields' means are 1, 2 and 0.
    exponentials = np.exp([1.0, 2.0, 0.0])
    weights = exponentials / exponentials.sum()
    np.testing.assert_allclose(weights, [0.244728, 0.665241, 0.090031], atol=1e-6)
    layer = light_se(np.eye(3))
    np.testing.assert_allclose(layer.weights_of(THREE_FIELDS), [weights], rtol=1e-6)
    np.testing.assert_allclose(
        layer(THREE_FIELDS), [(1 + weights[:, None]) * THREE_FIELDS[0]], rtol=1e-6
    )


@pytest.mark.parametrize("seed", range(5))
def test_light_se_weights_sum_to_one_and_match_the_oracle(seed):
    random = np.random.default_rng(seed)
    kernel, bias = random.normal(size=(3, 3)), random.normal(size=3)
    fields = random.normal(size=(7, 3, 4)).astype(np.float32)
    layer = light_se(kernel, bias)
    np.testing.assert_allclose(tf.reduce_sum(layer.weights_of(fields), axis=1), 1.0, rtol=1e-6)
    for row, gated, weights in zip(fields, layer(fields), layer.weights_of(fields), strict=True):
        expected = reference.light_se(row, kernel, bias)
        np.testing.assert_allclose(gated, expected[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(weights, expected[1], rtol=1e-4)
        assert (np.abs(gated) >= np.abs(row)).all()
        assert (np.abs(gated) <= 2 * np.abs(row)).all()


def test_permuting_the_fields_permutes_the_weights_of_light_se():
    random = np.random.default_rng(0)
    kernel, bias = random.normal(size=(3, 3)), random.normal(size=3)
    fields = random.normal(size=(5, 3, 4)).astype(np.float32)
    order = [2, 0, 1]
    weights = light_se(kernel, bias).weights_of(fields).numpy()
    permuted = light_se(kernel[order][:, order], bias[order]).weights_of(fields[:, order])
    np.testing.assert_allclose(permuted, weights[:, order], rtol=1e-5)


def test_light_se_doubles_a_single_field_whatever_the_weights():
    # Why a tower with one field leaves the gate out.
    fields = tf.random.stateless_normal([4, 1, 3], [1, 2])
    np.testing.assert_allclose(
        light_se([[7.0]], [-3.0], num_fields=1)(fields), 2 * fields, rtol=1e-6
    )


def test_light_se_is_finite_on_extreme_fields():
    assert np.isfinite(light_se(100 * np.eye(3))(1e6 * THREE_FIELDS)).all()


def excitation_kernels(layer):
    named = {variable.name: variable for variable in layer.variables}
    return named["inner.kernel:0"], named["outer.kernel:0"]


def test_squeeze_excitation_by_hand():
    layer = SqueezeExcitation(WeightMaker(0), 3)
    inner, outer = excitation_kernels(layer)
    inner.assign([[1.0], [-2.0], [0.5]])
    outer.assign([[2.0, -1.0, 0.0]])
    fields = tf.constant([[[1.0, 3.0], [0.5, -0.5], [2.0, 2.0]], [[0.0, 0.0], [3.0, 1.0], [0, 0]]])
    # Means 2, 0, 2 excite 1 * 2 + 0.5 * 2 = 3; means 0, 2, 0 excite relu(-4) = 0.
    np.testing.assert_allclose(layer.weights_of(fields), [[2 * 3, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(layer(fields)[0], [[7, 21], [0.5, -0.5], [2, 2]])
    np.testing.assert_allclose(layer(fields)[1], fields[1])


@pytest.mark.parametrize(("num_fields", "units"), [(2, 1), (3, 1), (6, 2), (7, 2)])
def test_squeeze_excitation_matches_the_oracle_and_has_the_papers_size(num_fields, units):
    layer = SqueezeExcitation(WeightMaker(0), num_fields)
    inner, outer = excitation_kernels(layer)
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
def test_no_field_of_a_new_squeeze_excitation_is_silent_for_good(seed):
    layer = SqueezeExcitation(WeightMaker(seed), 2)
    fields = tf.random.stateless_normal([64, 2, 4], [seed, 1])
    weights = layer.weights_of(fields).numpy()
    assert (weights >= 0).all()
    assert (weights.max(axis=0) > 0).all()
