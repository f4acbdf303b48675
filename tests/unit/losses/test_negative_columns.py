import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import gradient_of
from tests.contracts.toy_set import NUM_CANDIDATES, recall_at_1_after_training
from tests.reference import losses as reference
from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.losses.negative_columns import CrossBatchMemory, KnownPositives, accidental_hits


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


def push(memory, *rows):
    """Pushes candidates whose embedding holds their row."""
    rows = np.array(rows, np.int32)
    memory.push(tf.constant(np.stack([rows] * 2, axis=1), tf.float32), tf.constant(rows))


def content(memory):
    embeddings, rows = memory.read()
    np.testing.assert_array_equal(embeddings, np.stack([np.maximum(rows, 0)] * 2, axis=1))
    return sorted(rows.numpy())


def test_it_starts_empty():
    embeddings, rows = CrossBatchMemory(3, 2).read()
    assert embeddings.dtype == tf.float32
    assert rows.dtype == tf.int32
    np.testing.assert_array_equal(embeddings, np.zeros((3, 2)))
    np.testing.assert_array_equal(rows, [-1, -1, -1])


def test_first_in_first_out():
    memory = CrossBatchMemory(5, 2)
    push(memory, 1, 2)
    assert content(memory) == [-1, -1, -1, 1, 2]
    push(memory, 3, 4)
    push(memory, 5, 6)
    assert content(memory) == [2, 3, 4, 5, 6]
    push(memory, 7)
    assert content(memory) == [3, 4, 5, 6, 7]
    push(memory)
    assert content(memory) == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("seed", range(3))
def test_it_keeps_the_last_pushed_candidates_whatever_the_batches(seed):
    random = np.random.default_rng(seed)
    memory, pushed = CrossBatchMemory(7, 2), []
    for _ in range(20):
        batch = random.integers(0, 100, random.integers(0, 20)).tolist()
        push(memory, *batch)
        pushed += batch
        assert content(memory) == sorted(([-1] * 7 + pushed)[-7:])


def test_embeddings_stay_as_they_were_pushed_and_get_no_gradient():
    memory = CrossBatchMemory(2, 2)
    table = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
    with tf.GradientTape() as tape:
        memory.push(table, tf.range(2))
        stored, _ = memory.read()
        loss = tf.reduce_sum(stored)
    assert tape.gradient(loss, table) is None
    table.assign(-table)
    np.testing.assert_array_equal(memory.read()[0], [[1.0, 2.0], [3.0, 4.0]])
    assert memory.trainable_variables == ()


def test_its_state_is_in_a_checkpoint(tmp_path):
    memory = CrossBatchMemory(3, 2)
    push(memory, 1, 2, 3, 4)
    path = tf.train.Checkpoint(memory=memory).save(str(tmp_path / "x"))
    restored = CrossBatchMemory(3, 2)
    tf.train.Checkpoint(memory=restored).restore(path).assert_consumed()
    assert content(restored) == [2, 3, 4]
    push(restored, 5)
    assert content(restored) == [3, 4, 5]


def test_a_capacity_below_one_is_refused():
    with pytest.raises(ValueError, match="capacity is 0; it must be at least 1"):
        CrossBatchMemory(0, 2)


def columns_of(memory, candidates, rows):
    """Candidates of the batch, then stored ones, and the mask of pairs that are not negatives."""
    stored, stored_rows = memory.read()
    column_rows = tf.concat([rows, stored_rows], axis=0)
    hidden = accidental_hits(rows, column_rows) | (column_rows[None, :] < 0)
    return tf.concat([candidates, stored], axis=0), hidden


def test_an_empty_memory_leaves_loss_and_gradient():
    vectors = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)

    def with_memory(queries, candidates):
        columns, hidden = columns_of(CrossBatchMemory(9, 2), candidates, tf.range(4))
        return in_batch_softmax(queries @ tf.transpose(columns), temperature=0.1, hidden=hidden)

    def without(queries, candidates):
        return in_batch_softmax(queries @ tf.transpose(candidates), temperature=0.1)

    np.testing.assert_allclose(with_memory(*vectors), without(*vectors), atol=1e-5)
    np.testing.assert_allclose(
        gradient_of(with_memory, *vectors), gradient_of(without, *vectors), atol=1e-5
    )


def test_learns_the_toy_set_with_most_negatives_from_the_memory():
    # Batches of 10, in turn: the other 40 candidates are negatives only through the memory.
    memory = CrossBatchMemory(40, 16)
    start = tf.Variable(0)

    def loss(queries, candidates):
        rows = (start + tf.range(10)) % NUM_CANDIDATES
        chosen = tf.gather(candidates, rows)
        columns, hidden = columns_of(memory, chosen, rows)
        scores = tf.matmul(tf.gather(queries, rows), columns, transpose_b=True)
        losses = in_batch_softmax(scores, temperature=0.1, hidden=hidden)
        memory.push(chosen, rows)
        start.assign_add(10)
        return losses

    assert recall_at_1_after_training(loss, steps=300) == 1.0
