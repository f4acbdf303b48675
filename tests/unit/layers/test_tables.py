import numpy as np
import pytest
import tensorflow as tf

from tests.reference import pooling as reference
from tfrs_twotower.layers.embedding_tables import (
    TableSet,
    TableShape,
    mean_of_rows,
    mean_of_vectors,
    row_or_zero,
)
from tfrs_twotower.layers.seeded import WeightMaker


def test_padding_and_unknown_start_at_zero_and_every_value_at_random():
    """An id that training never saw contributes nothing."""
    tables = TableSet(WeightMaker(0), {"ids": TableShape(6, 0.5)}, 3)
    rows = tables["ids"].numpy()
    assert (rows == 0.0).all(axis=1).tolist() == [True, True, False, False, False, False]


def test_a_missing_id_gives_zero_whatever_its_row_holds():
    table = tf.Variable([[9.0, 9.0], [1.0, 2.0]])
    assert row_or_zero(table, tf.constant([1, 0])).numpy().tolist() == [[1, 2], [0, 0]]


def test_mean_of_rows_by_hand():
    table = tf.Variable([[9.0, 9.0], [1.0, 0.0], [0.0, 4.0]])
    means, has_any = mean_of_rows(table, tf.constant([[1, 2, 0], [2, 0, 2], [0, 0, 0]]))
    np.testing.assert_allclose(means, [[(1 + 0) / 2, (0 + 4) / 2], [0, 4], [0, 0]])
    assert has_any.numpy().tolist() == [True, True, False]
    weighted, _ = mean_of_rows(table, tf.constant([[1, 2]]), tf.constant([[3.0, 1.0]]))
    np.testing.assert_allclose(weighted, [[3 / 4, 4 / 4]])


@pytest.mark.parametrize("seed", range(5))
def test_matches_reference(seed):
    random = np.random.default_rng(seed)
    table = random.normal(size=(11, 4)).astype(np.float32)
    ids = random.integers(0, 11, (6, 7)) * random.integers(0, 2, (6, 7))
    weights = random.uniform(0.1, 2.0, (6, 7)).astype(np.float32)
    for entry_weights in (None, weights):
        actual, _ = mean_of_rows(tf.Variable(table), tf.constant(ids, tf.int32), entry_weights)
        np.testing.assert_allclose(
            actual, reference.mean_of_rows(table, ids, entry_weights), atol=1e-6
        )


def test_padding_changes_nothing():
    table = tf.Variable(tf.random.stateless_normal([5, 3], [1, 2]))
    ids = tf.constant([[1, 4, 4], [2, 0, 0]])
    longer = tf.pad(ids, [[0, 0], [0, 40]])
    np.testing.assert_array_equal(mean_of_rows(table, ids)[0], mean_of_rows(table, longer)[0])


def test_gradient_is_sparse_and_right():
    table = tf.Variable(tf.random.stateless_normal([6, 2], [1, 2]))
    log_weight = tf.Variable([0.0, 0.3, -0.2, 0.1, 0.5, 0.0])
    ids = tf.constant([[1, 3, 3], [3, 0, 0], [0, 0, 0]])
    with tf.GradientTape() as tape:
        means, _ = mean_of_rows(table, ids, tf.exp(tf.gather(log_weight, ids)))
        loss = tf.reduce_sum(means * tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    table_gradient, weight_gradient = tape.gradient(loss, [table, log_weight])
    assert isinstance(table_gradient, tf.IndexedSlices)
    assert sorted(table_gradient.indices.numpy()) == [1, 3]
    w1, w3 = np.exp(0.3), np.exp(0.1)
    share = w1 / (w1 + 2 * w3)
    dense = tf.convert_to_tensor(table_gradient).numpy()
    np.testing.assert_allclose(dense[1], share * np.array([1.0, 2.0]), rtol=1e-5)
    np.testing.assert_allclose(dense[3], (1 - share) * np.array([1, 2.0]) + [3, 4], rtol=1e-5)
    # d mean / d log w1 = share * (1 - share) * (row 1 - row 3)
    difference = (table[1] - table[3]).numpy() @ [1.0, 2.0]
    expected = share * (1 - share) * difference
    actual = tf.convert_to_tensor(weight_gradient).numpy()
    np.testing.assert_allclose(actual[1], expected, rtol=1e-4)
    np.testing.assert_allclose(actual[0], 0.0)


def test_empty_batch():
    table = tf.Variable(tf.ones([3, 2]))
    means, has_any = mean_of_rows(table, tf.zeros([0, 4], tf.int32))
    assert means.shape == [0, 2]
    assert has_any.shape == [0]


def test_mean_of_vectors():
    vectors = tf.constant([[[1.0], [3.0], [100.0]], [[1.0], [1.0], [1.0]]])
    present = tf.constant([[True, True, False], [False, False, False]])
    np.testing.assert_allclose(mean_of_vectors(vectors, present), [[(1 + 3) / 2], [0]])
