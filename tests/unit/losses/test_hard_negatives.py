import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.loss_contract import LossContract
from tests.reference import losses as reference
from tfrs_twotower.losses.in_batch_softmax import hide, in_batch_softmax, keep_hardest
from tfrs_twotower.losses.masks import accidental_hits


class TestSoftmaxOfTheHardestNegatives(LossContract):
    def loss(self, queries, candidates, rows, temperature):
        positives = tf.range(tf.shape(rows)[0])
        logits = tf.matmul(queries, candidates, transpose_b=True) / temperature
        logits = hide(logits, accidental_hits(rows, rows), positives)
        return in_batch_softmax(
            keep_hardest(logits, num_hard_negatives=2, positive_columns=positives)
        )


def logits_of(seed):
    return np.random.default_rng(seed).normal(size=(5, 7)).astype(np.float32)


@pytest.mark.parametrize("k", [6, 7, 100])
def test_property_1_9_8_as_many_as_there_are_equals_the_plain_loss(k):
    logits = tf.constant(logits_of(0))
    kept = keep_hardest(logits, num_hard_negatives=k, positive_columns=tf.range(5))
    np.testing.assert_array_equal(kept, logits)


def test_property_1_9_8_one_keeps_exactly_the_largest_negative():
    logits = tf.constant([[5.0, 1.0, 3.0], [2.0, 0.0, 1.0], [0.0, 4.0, 0.0]])
    kept = keep_hardest(logits, num_hard_negatives=1, positive_columns=tf.range(3)).numpy()
    hidden = -np.inf
    np.testing.assert_array_equal(
        kept, [[5.0, hidden, 3.0], [2.0, 0.0, hidden], [hidden, 4.0, 0.0]]
    )


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_reference(seed):
    logits = logits_of(seed)
    positives = np.random.default_rng(seed).integers(0, 7, 5)
    kept = keep_hardest(
        tf.constant(logits), num_hard_negatives=3, positive_columns=tf.constant(positives)
    )
    expected = reference.keep_hardest(logits, 3, positives)
    expected = [[-np.inf if z is None else z for z in row] for row in expected]
    np.testing.assert_allclose(kept, expected, rtol=1e-6)


def test_gradient_of_what_is_dropped_is_zero():
    logits = tf.constant(logits_of(1))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        kept = keep_hardest(logits, num_hard_negatives=2, positive_columns=tf.range(5))
        loss = in_batch_softmax(kept)
    gradient = tape.gradient(loss, logits).numpy()
    np.testing.assert_array_equal((gradient != 0).sum(axis=1), 3)


def test_none_is_refused():
    with pytest.raises(ValueError, match="num_hard_negatives is 0; it must be at least 1"):
        keep_hardest(tf.zeros([2, 2]), num_hard_negatives=0, positive_columns=tf.range(2))
