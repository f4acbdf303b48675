import numpy as np
import pytest
import tensorflow as tf

from tests.reference import dat as reference
from tfrs_twotower.layers.candidate_memory import CandidateMemory
from tfrs_twotower.layers.initial import WeightMaker


def a_memory(num_rows=8, dim=3):
    return CandidateMemory(WeightMaker(1), "item", num_rows, dim)


def tokens(*ids):
    return {"item": tf.constant(ids, tf.int32)}


def rows_of(memory):
    return memory.variables[0].numpy()


def test_by_hand():
    memory = a_memory()
    memory.update(tokens(2, 4), tf.constant([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    history = tf.constant([[2, 4, 0], [4, 3, 1], [3, 1, 0], [0, 0, 0]])
    means, found = memory.mean(history)
    # Row 3 was never written, row 1 is unknown and 0 padding: they have no part in a mean.
    np.testing.assert_array_equal(means, [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]])
    assert found.numpy().tolist() == [True, True, False, False]


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_reference(seed):
    random = np.random.default_rng(seed)
    memory = a_memory(30, 4)
    written = random.choice(np.arange(2, 30), 12, replace=False)
    memory.update(tokens(*written), tf.constant(random.normal(size=(12, 4)), tf.float32))
    history = random.integers(0, 30, (20, 5))
    means, found = memory.mean(tf.constant(history, tf.int32))
    for mean, there_is, events in zip(means.numpy(), found.numpy(), history, strict=True):
        expected = reference.history_mean(rows_of(memory), events)
        assert there_is == (expected is not None)
        np.testing.assert_allclose(mean, 0.0 if expected is None else expected, atol=1e-6)


def test_an_update_replaces_what_it_names_and_keeps_the_rest():
    memory = a_memory(6, 2)
    memory.update(tokens(2, 3), tf.constant([[1.0, 1.0], [2.0, 2.0]]))
    memory.update(tokens(3, 5, 3, 1, 0), tf.constant([[4.0, 0], [7, 7], [0, 4], [9, 9], [9, 9]]))
    expected = [[0, 0], [0, 0], [1, 1], [2, 2], [0, 0], [7, 7]]  # the two of 3 are averaged
    np.testing.assert_array_equal(rows_of(memory), expected)


def test_a_replacement_forgets():
    memory = a_memory(5, 2)
    memory.update(tokens(2, 3), tf.ones([2, 2]))
    memory.replace(tokens(4, 1, 2), tf.constant([[4.0, 4.0], [9.0, 9.0], [5.0, 5.0]]))
    np.testing.assert_array_equal(rows_of(memory), [[0, 0], [0, 0], [5, 5], [0, 0], [4, 4]])


def test_it_is_not_trained_and_passes_no_gradient():
    memory = a_memory(5, 2)
    assert memory.trainable_variables == ()
    embeddings = tf.Variable(tf.ones([2, 2]))
    with tf.GradientTape() as tape:
        memory.update(tokens(2, 3), 2.0 * embeddings)
        loss = tf.reduce_sum(memory.mean(tf.constant([[2, 3]]))[0])
    assert loss.numpy() == 4.0
    assert tape.gradient(loss, embeddings) is None
