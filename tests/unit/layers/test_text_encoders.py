import numpy as np
import tensorflow as tf

from tfrs_twotower.config import TransformerConfig
from tfrs_twotower.layers.seeded import TrainingDropout, WeightMaker
from tfrs_twotower.layers.text_encoders import BagField, TransformerField

TABLE = tf.Variable(tf.random.stateless_normal([6, 4], [1, 2]))


def test_bag_weights_by_hand():
    bag = BagField(WeightMaker(0), TABLE, "bio")
    plain = bag(tf.constant([[2, 3, 0], [0, 0, 0]]), None)
    np.testing.assert_allclose(plain, [(TABLE[2] + TABLE[3]) / 2, np.zeros(4)], rtol=1e-5)
    bag.multiply_weights(np.array([1, 1, 3, 1, 1, 1], np.float32))
    weighted = bag(tf.constant([[2, 3, 3]]), None)
    np.testing.assert_allclose(weighted[0], (3 * TABLE[2] + 2 * TABLE[3]) / 5, rtol=1e-5)


def test_bag_positions_by_hand():
    bag = BagField(WeightMaker(0), TABLE, "bio", positions=True)
    tokens = tf.constant([[2, 3, 4, 5]])
    np.testing.assert_allclose(bag(tokens, None)[0], tf.reduce_mean(TABLE[2:6], axis=0), rtol=1e-5)
    # Places 0 | 1 2 | 3 4 5 6 | ...
    bag._position.assign(np.log([3.0, 2, 1, 1, 1, 1, 1, 1]))
    expected = (3 * TABLE[2] + 2 * TABLE[3] + 2 * TABLE[4] + TABLE[5]) / 8
    np.testing.assert_allclose(bag(tokens, None)[0], expected, rtol=1e-5)


def test_tokens_are_dropped_in_training_only():
    bag = BagField(WeightMaker(0), TABLE, "bio", token_dropout=0.5)
    tokens = tf.constant([[2, 3]] * 64)
    assert len(np.unique(bag(tokens, None), axis=0)) == 1
    assert len(np.unique(bag(tokens, TrainingDropout(1, "query")), axis=0)) == 4


def transformer():
    config = TransformerConfig(num_layers=2, num_heads=2, feed_forward_dim=8)
    return TransformerField(WeightMaker(0), TABLE, config, 5, "text")


def test_transformer_ignores_padding_and_sees_order():
    field = transformer()
    tokens = tf.constant([[2, 3, 4, 0, 0], [4, 3, 2, 0, 0], [0, 0, 0, 0, 0]])
    vectors = field(tokens, None).numpy()
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4
    assert not vectors[2].any()
    before = vectors[0]
    TABLE[0].assign(TABLE[0] + 5.0)
    np.testing.assert_allclose(field(tokens, None)[0], before, rtol=1e-5, atol=1e-6)


def test_transformer_rows_do_not_mix():
    field = transformer()
    together = field(tf.constant([[2, 3, 4, 0, 0], [5, 5, 5, 5, 5]]), None)
    alone = field(tf.constant([[2, 3, 4, 0, 0]]), None)
    np.testing.assert_allclose(together[:1], alone, rtol=1e-5, atol=1e-6)
