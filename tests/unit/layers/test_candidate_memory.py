import numpy as np
import pytest
import tensorflow as tf

from tests.reference import dat as reference
from tfrs_twotower.layers.candidate_memory import CandidateMemory, SegmentMeans
from tfrs_twotower.layers.seeded import WeightMaker


def a_memory(num_rows=8, dim=3):
    return CandidateMemory(WeightMaker(1), "item", num_rows, dim)


def tokens(*ids):
    return {"item": tf.constant(ids, tf.int32)}


def rows_of(memory):
    return memory.variables[0].numpy()


def test_history_means_by_hand():
    memory = a_memory()
    memory.update(tokens(2, 4), tf.constant([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    history = tf.constant([[2, 4, 0], [4, 3, 1], [3, 1, 0], [0, 0, 0]])
    means, has_mean = memory.mean(history)
    # Row 3 was never written, row 1 is unknown and 0 padding: they have no part in a mean.
    np.testing.assert_array_equal(means, [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]])
    assert has_mean.numpy().tolist() == [True, True, False, False]


@pytest.mark.parametrize("seed", range(5))
def test_history_means_equal_the_reference(seed):
    random = np.random.default_rng(seed)
    memory = a_memory(30, 4)
    written = random.choice(np.arange(2, 30), 12, replace=False)
    memory.update(tokens(*written), tf.constant(random.normal(size=(12, 4)), tf.float32))
    history = random.integers(0, 30, (20, 5))
    means, has_mean = memory.mean(tf.constant(history, tf.int32))
    for mean, known, events in zip(means.numpy(), has_mean.numpy(), history, strict=True):
        expected = reference.history_mean(rows_of(memory), events)
        assert known == (expected is not None)
        np.testing.assert_allclose(mean, 0.0 if expected is None else expected, atol=1e-6)


def test_an_update_replaces_the_rows_it_names_and_keeps_the_rest():
    memory = a_memory(6, 2)
    memory.update(tokens(2, 3), tf.constant([[1.0, 1.0], [2.0, 2.0]]))
    memory.update(tokens(3, 5, 3, 1, 0), tf.constant([[4.0, 0], [7, 7], [0, 4], [9, 9], [9, 9]]))
    expected = [[0, 0], [0, 0], [1, 1], [2, 2], [0, 0], [7, 7]]  # the two of 3 are averaged
    np.testing.assert_array_equal(rows_of(memory), expected)


def test_replace_forgets_earlier_rows():
    memory = a_memory(5, 2)
    memory.update(tokens(2, 3), tf.ones([2, 2]))
    memory.replace(tokens(4, 1, 2), tf.constant([[4.0, 4.0], [9.0, 9.0], [5.0, 5.0]]))
    np.testing.assert_array_equal(rows_of(memory), [[0, 0], [0, 0], [5, 5], [0, 0], [4, 4]])


def test_the_memory_is_not_trained_and_passes_no_gradient():
    memory = a_memory(5, 2)
    assert memory.trainable_variables == ()
    embeddings = tf.Variable(tf.ones([2, 2]))
    with tf.GradientTape() as tape:
        memory.update(tokens(2, 3), 2.0 * embeddings)
        loss = tf.reduce_sum(memory.mean(tf.constant([[2, 3]]))[0])
    assert loss.numpy() == 4.0
    assert tape.gradient(loss, embeddings) is None


def segment_means(table, num_segments):
    return SegmentMeans(
        WeightMaker(1), table, id_feature="id", segment_feature="town", num_segments=num_segments
    )


def means_in(segments, *towns):
    means, has_mean = segments({"town": tf.constant(towns)})
    return means.numpy().tolist(), has_mean.numpy().tolist()


def test_segment_means_by_hand():
    table = tf.Variable([[9.0], [9.0], [1.0], [3.0], [8.0]])
    segments = segment_means(table, 5)
    assert means_in(segments, 2) == ([[0.0]], [False])
    # Id 2 occurs twice in town 2 and counts once; id 1 and town 1 are unknown and do not count.
    segments.set_members({"id": np.array([2, 2, 3, 4, 1, 4]), "town": np.array([2, 2, 2, 3, 3, 1])})
    segments.compute_means()
    assert means_in(segments, 2, 3, 4, 1, 0) == (
        [[2.0], [8.0], [0.0], [0.0], [0.0]],
        [True, True, False, False, False],
    )
    table.assign(-table)
    segments.compute_means()
    assert means_in(segments, 2)[0] == [[-2.0]]


@pytest.mark.parametrize("seed", range(5))
def test_segment_means_equal_the_reference(seed):
    random = np.random.default_rng(seed)
    table = tf.Variable(random.normal(size=(20, 3)), dtype=tf.float32)
    ids, towns = random.integers(0, 20, 50), random.integers(0, 9, 50)
    segments = segment_means(table, 9)
    segments.set_members({"id": ids, "town": towns})
    segments.compute_means()
    means, has_mean = segments({"town": tf.range(9)})
    expected = reference.segment_means(table.numpy(), ids, towns, 9)
    for mean, known, expected_mean in zip(means.numpy(), has_mean.numpy(), expected, strict=True):
        assert known == (expected_mean is not None)
        np.testing.assert_allclose(mean, 0.0 if expected_mean is None else expected_mean, atol=1e-6)


def test_computing_without_members_keeps_the_loaded_means():
    segments = segment_means(tf.Variable(tf.ones([4, 1])), 3)
    segments.variables[0].assign([[0.0], [0.0], [5.0]])
    segments.compute_means()
    assert means_in(segments, 2) == ([[5.0]], [True])
