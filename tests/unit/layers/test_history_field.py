import numpy as np
import tensorflow as tf

from tfrs_twotower.layers.field_encoders import HistoryField
from tfrs_twotower.layers.hiding import Hiding
from tfrs_twotower.layers.initial import WeightMaker

TABLE = tf.Variable([[7.0, 7.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def field(**options):
    return HistoryField(WeightMaker(0), TABLE, 2, "history", **options)


def test_mean_and_learned_empty_vector():
    history = field()
    empty = next(v for v in history.trainable_variables if v.name == "empty:0")
    actual = history(tf.constant([[2, 3, 0], [0, 0, 0]]), None)
    np.testing.assert_allclose(actual, [[1 / 2, 1 / 2], empty.numpy()])
    assert empty.numpy().any()


def test_half_life_by_hand():
    actual = field(half_life=1.0)(tf.constant([[2, 3, 3]]), None)
    total = 1 + 1 / 2 + 1 / 4
    np.testing.assert_allclose(actual, [[1 / total, (1 / 2 + 1 / 4) / total]], rtol=1e-6)


def test_padding_changes_nothing():
    for history in (field(), field(half_life=3.0)):
        short = history(tf.constant([[2, 3]]), None)
        np.testing.assert_allclose(history(tf.constant([[2, 3] + [0] * 50]), None), short)


def test_events_are_hidden_in_training_only():
    history = field(history_dropout=0.5)
    tokens = tf.constant([[2, 3]] * 64)
    np.testing.assert_allclose(history(tokens, None), [[1 / 2, 1 / 2]] * 64)
    shown = {tuple(row) for row in history(tokens, Hiding(1, "query")).numpy()}
    assert {(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)} <= shown
    assert len(shown) == 4  # and the learned vector of an empty history
