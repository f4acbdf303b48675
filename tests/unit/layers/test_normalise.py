import numpy as np
import tensorflow as tf

from tfrs_twotower.layers.bodies import l2_normalise


def test_by_hand():
    np.testing.assert_allclose(l2_normalise(tf.constant([[3.0, 4.0]])), [[3 / 5, 4 / 5]], rtol=1e-6)


def test_zero_row_stays_zero_with_a_finite_gradient():
    vectors = tf.Variable([[0.0, 0.0], [1e-20, 0.0], [1e6, 1e6]])
    with tf.GradientTape() as tape:
        unit = l2_normalise(vectors)
        loss = tf.reduce_sum(unit)
    assert np.isfinite(unit).all()
    assert unit[0].numpy().tolist() == [0.0, 0.0]
    assert np.isfinite(tape.gradient(loss, vectors)).all()


def test_short_rows_are_normalised_too():
    unit = l2_normalise(tf.constant([[1e-5, 0.0]]))
    np.testing.assert_allclose(unit, [[1.0, 0.0]], rtol=1e-5)
