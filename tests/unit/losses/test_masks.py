import numpy as np
import pytest
import tensorflow as tf

from tests.reference import losses as reference
from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.losses.negative_columns import KnownPositives, accidental_hits


def test_accidental_hits_by_hand():
    hits = accidental_hits(tf.constant([7, 8]), tf.constant([7, 8, 7]))
    np.testing.assert_array_equal(hits, [[True, False, True], [False, True, False]])


def test_equal_ids_in_all_columns_give_loss_zero():
    rows = tf.zeros([5], tf.int32)
    loss = in_batch_softmax(
        tf.random.stateless_normal([5, 5], [0, 1]), hidden=accidental_hits(rows, rows)
    )
    np.testing.assert_array_equal(loss, 0.0)


def test_distinct_ids_give_the_plain_loss():
    rows = tf.range(5)
    scores = tf.random.stateless_normal([5, 5], [0, 1])
    loss = in_batch_softmax(scores, hidden=accidental_hits(rows, rows))
    np.testing.assert_array_equal(loss, in_batch_softmax(scores))


@pytest.mark.parametrize("seed", range(5))
def test_known_positives_equal_the_reference(seed):
    random = np.random.default_rng(seed)
    pairs = np.stack([random.integers(0, 6, 40), random.integers(0, 9, 40)], axis=1)
    known = KnownPositives(pairs[:, 0], pairs[:, 1], num_queries=6, num_candidates=9)
    assert known.num_pairs == len({tuple(pair) for pair in pairs.tolist()})
    queries = random.integers(0, 6, 5).astype(np.int32)
    columns = random.integers(0, 9, 12).astype(np.int32)
    hits = known.hits(tf.constant(queries), tf.constant(columns))
    np.testing.assert_array_equal(hits, reference.known_positives(pairs, queries, columns))
    expected = reference.accidental_hits(queries, columns)
    np.testing.assert_array_equal(accidental_hits(queries, columns), expected)


def test_a_query_without_positives_hides_nothing():
    known = KnownPositives(np.array([1]), np.array([0]), num_queries=3, num_candidates=2)
    hits = known.hits(tf.constant([0, 1, 2]), tf.constant([0, 1]))
    np.testing.assert_array_equal(hits, [[False, False], [True, False], [False, False]])


def test_large_corpora_do_not_overflow():
    most = 2**31 - 2
    known = KnownPositives(
        np.array([3], np.int32), np.array([most], np.int32), num_queries=4, num_candidates=most + 1
    )
    assert known.num_pairs == 1
    np.testing.assert_array_equal(known._rows, [most])
