import numpy as np
import tensorflow as tf

from tfrs_twotower.layers.field_encoders import (
    BucketField,
    CalendarField,
    NumberField,
    RowField,
    SetField,
)
from tfrs_twotower.layers.hiding import Hiding
from tfrs_twotower.layers.initial import WeightMaker

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
        vectors = field(tokens, Hiding(1, "query"))
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
