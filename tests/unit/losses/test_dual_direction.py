"""The dual loss of DANCE is `in_batch_softmax` of the transposed scores; it has no own function."""

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import gradient_of
from tests.contracts.loss_contract import LossContract
from tests.reference import losses as reference
from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.losses.negative_columns import accidental_hits


def symmetric(scores, *, temperature, dual_weight=1.0, hidden=None, reverse_hidden=None):
    """q2d + weight * d2q."""
    forth = in_batch_softmax(scores, temperature=temperature, hidden=hidden)
    back = in_batch_softmax(tf.transpose(scores), temperature=temperature, hidden=reverse_hidden)
    return forth + dual_weight * back


class TestDualDirection(LossContract):
    def loss(self, queries, candidates, rows, temperature):
        hits = accidental_hits(rows, rows)
        return symmetric(
            tf.matmul(queries, candidates, transpose_b=True),
            temperature=temperature,
            dual_weight=0.1,
            hidden=hits,
            reverse_hidden=hits,
        )


# One quadruple as a batch of two: q.d+ = .8, q.d- = .6, q-.d+ = .5.
QUADRUPLE = np.array([[0.8, 0.6], [0.5, 0.7]])


def softplus(x):
    return np.log1p(np.exp(x))


def test_a_quadruple_by_hand():
    loss = symmetric(tf.constant(QUADRUPLE), temperature=0.1, dual_weight=0.1).numpy()[0]
    np.testing.assert_allclose(
        loss, softplus((0.6 - 0.8) / 0.1) + 0.1 * softplus((0.5 - 0.8) / 0.1), rtol=1e-6
    )
    np.testing.assert_allclose(loss, 0.131787, atol=1e-6)


def test_dual_weight_zero_leaves_the_loss_of_the_triple():
    loss = symmetric(tf.constant(QUADRUPLE), temperature=0.1, dual_weight=0.0).numpy()[0]
    np.testing.assert_allclose(loss, softplus((0.6 - 0.8) / 0.1), rtol=1e-6)


def test_swapping_the_roles_swaps_the_terms():
    def terms(scores):
        forth = in_batch_softmax(tf.constant(scores), temperature=0.1)
        return [forth[0], in_batch_softmax(tf.transpose(scores), temperature=0.1)[0]]

    expected = [softplus((0.6 - 0.8) / 0.1), softplus((0.5 - 0.8) / 0.1)]
    np.testing.assert_allclose(terms(QUADRUPLE), expected, rtol=1e-6)
    # q <-> d+, d- <-> q-.
    swapped = np.array([[0.8, 0.5], [0.6, 0.7]])
    np.testing.assert_allclose(terms(swapped), expected[::-1], rtol=1e-6)


def test_a_query_with_the_same_positive_is_not_a_negative():
    scores = np.random.default_rng(0).normal(size=(4, 4))
    hits = accidental_hits(tf.constant([7, 8, 7, 9]), tf.constant([7, 8, 7, 9]))
    (gradient,) = gradient_of(
        lambda s: in_batch_softmax(tf.transpose(s), temperature=0.1, hidden=tf.transpose(hits)),
        scores,
    )
    # Candidate 7, in columns 0 and 2, is the positive of both queries 0 and 2.
    np.testing.assert_array_equal(gradient == 0.0, hits.numpy() & ~np.eye(4, dtype=bool))


@pytest.mark.parametrize("seed", range(3))
def test_transposing_the_scores_leaves_the_symmetric_loss(seed):
    scores = np.random.default_rng(seed).normal(size=(6, 6))
    loss = symmetric(tf.constant(scores), temperature=0.2)
    rows = np.array(reference.in_batch_softmax(scores, temperature=0.2))
    columns = np.array(reference.in_batch_softmax(scores.T, temperature=0.2))
    np.testing.assert_allclose(loss, rows + columns, rtol=1e-6)
    np.testing.assert_allclose(symmetric(tf.constant(scores.T), temperature=0.2), loss, rtol=1e-9)
