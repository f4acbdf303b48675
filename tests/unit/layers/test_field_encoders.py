import numpy as np
import tensorflow as tf

from tfrs_twotower.layers.field_encoders import (
    BucketField,
    CalendarField,
    HistoryField,
    NumberField,
    RowField,
    SetField,
)
from tfrs_twotower.layers.seeded import TrainingDropout, WeightMaker

TABLE = tf.Variable([[7.0, 7.0], [0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])


def test_row():
    np.testing.assert_allclose(
        RowField(TABLE, "id")(tf.constant([0, 1, 3]), None), [[0, 0], [0.5, 0.5], [0, 1]]
    )


def test_row_gradient_is_sparse_and_spares_padding():
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(RowField(TABLE, "id")(tf.constant([0, 3]), None))
    gradient = tape.gradient(loss, TABLE)
    assert isinstance(gradient, tf.IndexedSlices)
    np.testing.assert_allclose(tf.convert_to_tensor(gradient), [[0, 0], [0, 0], [0, 0], [1, 1]])


def test_id_dropout_trains_the_unknown_row():
    field = RowField(TABLE, "id", id_dropout=0.5)
    tokens = tf.constant([2] * 64)
    with tf.GradientTape() as tape:
        vectors = field(tokens, TrainingDropout(1, "query"))
    gradient = tf.convert_to_tensor(tape.gradient(vectors, TABLE)).numpy()
    assert gradient[1, 0] + gradient[2, 0] == 64
    assert 10 < gradient[1, 0] < 54
    np.testing.assert_allclose(field(tokens, None), [[1.0, 0.0]] * 64)


def test_set():
    actual = SetField(TABLE, "genres")(tf.constant([[2, 3, 0], [0, 0, 0]]), None)
    np.testing.assert_allclose(actual, [[1 / 2, 1 / 2], [0, 0]])


def test_bucket_of_a_missing_number_is_learned():
    field = BucketField(WeightMaker(0), 4, 2, "tenure")
    assert field(tf.constant([0]), None).numpy().any()


def test_calendar_parts_add_up():
    field = CalendarField(WeightMaker(0), {"hour_of_day": 24, "day_of_week": 7}, 2, "time")
    hours, days = sorted(field.variables, key=lambda variable: -variable.shape[0])
    actual = field(tf.constant([[24, 7], [0, 7], [0, 0]]), None)
    np.testing.assert_allclose(actual, [hours[24] + days[7], days[7], [0, 0]])


def test_number():
    field = NumberField(WeightMaker(0), 2, "age")
    kernel = field.variables[0].numpy()
    actual = field(tf.constant([[2.0, 0.0], [0.0, 1.0]]), None)
    np.testing.assert_allclose(actual, [2 * kernel[0], kernel[1]], rtol=1e-6)


HISTORY_TABLE = tf.Variable([[7.0, 7.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


def history_field(**options):
    return HistoryField(WeightMaker(0), HISTORY_TABLE, 2, "history", **options)


def test_history_is_a_mean_and_an_empty_one_is_learned():
    history = history_field()
    empty = next(v for v in history.trainable_variables if v.name == "empty:0")
    actual = history(tf.constant([[2, 3, 0], [0, 0, 0]]), None)
    np.testing.assert_allclose(actual, [[1 / 2, 1 / 2], empty.numpy()])
    assert empty.numpy().any()


def test_history_half_life_by_hand():
    actual = history_field(half_life=1.0)(tf.constant([[2, 3, 3]]), None)
    total = 1 + 1 / 2 + 1 / 4
    np.testing.assert_allclose(actual, [[1 / total, (1 / 2 + 1 / 4) / total]], rtol=1e-6)


def test_padding_of_a_history_changes_nothing():
    for history in (history_field(), history_field(half_life=3.0)):
        short = history(tf.constant([[2, 3]]), None)
        np.testing.assert_allclose(history(tf.constant([[2, 3] + [0] * 50]), None), short)


def test_history_events_are_dropped_in_training_only():
    history = history_field(history_dropout=0.5)
    tokens = tf.constant([[2, 3]] * 64)
    np.testing.assert_allclose(history(tokens, None), [[1 / 2, 1 / 2]] * 64)
    vectors = {tuple(row) for row in history(tokens, TrainingDropout(1, "query")).numpy()}
    assert {(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)} <= vectors
    assert len(vectors) == 4  # the fourth is the learned vector of an empty history
