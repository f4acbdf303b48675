import numpy as np
import pytest
import tensorflow as tf

from tests.reference import dat as reference
from tfrs_twotower.layers.candidate_memory import SegmentMeans
from tfrs_twotower.layers.initial import WeightMaker


def means_of(table, num_segments):
    return SegmentMeans(
        WeightMaker(1), table, id_feature="id", segment_feature="town", num_segments=num_segments
    )


def asked(segments, *towns):
    means, found = segments({"town": tf.constant(towns)})
    return means.numpy().tolist(), found.numpy().tolist()


def test_by_hand():
    table = tf.Variable([[9.0], [9.0], [1.0], [3.0], [8.0]])
    segments = means_of(table, 5)
    assert asked(segments, 2) == ([[0.0]], [False])
    # Id 2 is met twice in town 2 and counts once; ids 1 (unknown) and town 1 do not count.
    segments.enrol({"id": np.array([2, 2, 3, 4, 1, 4]), "town": np.array([2, 2, 2, 3, 3, 1])})
    segments.settle()
    assert asked(segments, 2, 3, 4, 1, 0) == (
        [[2.0], [8.0], [0.0], [0.0], [0.0]],
        [True, True, False, False, False],
    )
    table.assign(-table)
    segments.settle()
    assert asked(segments, 2)[0] == [[-2.0]]


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_reference(seed):
    random = np.random.default_rng(seed)
    table = tf.Variable(random.normal(size=(20, 3)), dtype=tf.float32)
    ids, towns = random.integers(0, 20, 50), random.integers(0, 9, 50)
    segments = means_of(table, 9)
    segments.enrol({"id": ids, "town": towns})
    segments.settle()
    means, found = segments({"town": tf.range(9)})
    expected = reference.segment_means(table.numpy(), ids, towns, 9)
    for mean, there_is, wanted in zip(means.numpy(), found.numpy(), expected, strict=True):
        assert there_is == (wanted is not None)
        np.testing.assert_allclose(mean, 0.0 if wanted is None else wanted, atol=1e-6)


def test_settling_without_members_keeps_what_was_loaded():
    segments = means_of(tf.Variable(tf.ones([4, 1])), 3)
    segments.variables[0].assign([[0.0], [0.0], [5.0]])
    segments.settle()
    assert asked(segments, 2) == ([[5.0]], [True])
