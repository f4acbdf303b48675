"""Mined negatives as further columns of a softmax: the losses of ANCE and DANCE."""

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import gradient_of
from tests.contracts.loss_contract import LossContract
from tests.reference import losses as reference
from tests.unit.tasks.batches import batch_of
from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.losses.negative_columns import accidental_hits
from tfrs_twotower.losses.softmax_variants import mined_margins, with_mined
from tfrs_twotower.tasks.objective import MinedNegatives, Objective
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.tasks.terms import DualTerm

ALL = tf.ones([3, 3], tf.bool)


def softplus(x):
    return np.log1p(np.exp(x))


class TestMinedSoftmax(LossContract):
    """The mined negatives of a row are its positive turned round, and mirrored."""

    def loss(self, queries, candidates, rows, temperature):
        mined = tf.stack([-candidates, tf.reverse(candidates, [1])], axis=1)
        losses = in_batch_softmax(
            tf.matmul(queries, candidates, transpose_b=True),
            temperature=temperature,
            hidden=accidental_hits(rows, rows),
        )
        present = tf.ones(tf.shape(mined)[:2], tf.bool)
        return with_mined(
            losses, mined_margins(queries, candidates, mined, present, temperature=temperature)
        )


def case(seed, batch=3, mined=4, dim=5):
    """Unit vectors of a batch and of each row's mined candidates and queries; some are padding."""
    random = np.random.default_rng(seed)

    def unit(*shape):
        vectors = random.normal(size=(*shape, dim)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    present = random.random((batch, mined)) < 0.7
    other = random.random((batch, mined)) < 0.7
    negatives = MinedNegatives(
        *map(tf.constant, (unit(batch, mined), present, unit(batch, mined), other))
    )
    return unit(batch), unit(batch), negatives


def quadruple():
    """q.d+ = .8, q.d- = .6, d+.q- = .5, with nothing else in the batch."""
    query, positive = np.array([[1.0, 0.0, 0.0]]), np.array([[0.8, 0.6, 0.0]])
    candidate = tf.constant([[[0.6, 0.0, 0.8]]])
    other_query = tf.constant([[[0.1, 0.7, np.sqrt(0.5)]]], tf.float32)
    one = tf.constant([[True]])
    negatives = MinedNegatives(candidate, one, other_query, one)
    return batch_of(query, positive, negatives=negatives)


def test_dance_by_hand():
    """Methods 6.2: .131787 = softplus(-2) + .1 softplus(-3)."""
    task = RetrievalTask(temperature=0.1)
    terms = (task, DualTerm(0.1, task))
    losses = {term.name: term.losses_of(quadruple()) for term in terms}
    np.testing.assert_allclose(losses["retrieval"], [softplus((0.6 - 0.8) / 0.1)], rtol=1e-5)
    np.testing.assert_allclose(losses["dual"], [softplus((0.5 - 0.8) / 0.1)], rtol=1e-5)
    total, _ = Objective({term.name: term.weight for term in terms})(losses)
    assert float(total) == pytest.approx(0.131787, abs=1e-6)


def test_ance_without_the_dual_term_is_the_loss_of_triples():
    """Methods 5.5.3 and 6.8.1: softplus((s- - s+) / t), whatever the positive's logQ is."""
    queries, candidates, negatives = case(1, mined=1)
    negatives = MinedNegatives(negatives.candidates, tf.ones([3, 1], tf.bool))
    expected = np.einsum("bd,bd->b", queries, negatives.candidates[:, 0].numpy() - candidates)
    for options in ({}, {"expected": tf.constant([0.01, 3.0, 0.5])}):
        batch = batch_of(queries, candidates, hidden=ALL, negatives=negatives, **options)
        losses = RetrievalTask(temperature=0.2).losses_of(batch)
        np.testing.assert_allclose(losses, softplus(expected / 0.2), rtol=1e-5)


def test_swapping_the_roles_swaps_the_terms():
    """Methods 6.8.2: q and d+, d- and q-."""
    queries, candidates, mined = case(2)
    task = RetrievalTask(temperature=0.1)
    dual = DualTerm(0.1, task)
    swapped = MinedNegatives(mined.queries, mined.queries_present, mined.candidates, mined.present)
    there = batch_of(queries, candidates, negatives=mined)
    back = batch_of(candidates, queries, negatives=swapped)
    np.testing.assert_allclose(dual.losses_of(there), task.losses_of(back), rtol=1e-5)
    np.testing.assert_allclose(task.losses_of(there), dual.losses_of(back), rtol=1e-5)


def columns_of(queries, candidates, vectors, present, row, expected):
    """Scores of a row with its own mined negatives behind, which have the positive's logQ."""
    own = vectors[row][present[row]]
    scores = np.concatenate([queries[row] @ candidates.T, own @ queries[row]])
    return scores[None], np.concatenate([expected, np.full(len(own), expected[row])])


@pytest.mark.parametrize("seed", range(5))
def test_matches_a_softmax_with_more_columns(seed):
    queries, candidates, mined = case(seed)
    expected = np.random.default_rng(seed).uniform(0.01, 2.0, 3).astype(np.float32)
    batch = batch_of(queries, candidates, negatives=mined, expected=tf.constant(expected))
    vectors, present = mined.candidates.numpy(), mined.present.numpy()
    reached = RetrievalTask(temperature=0.2).losses_of(batch).numpy()
    refined = RetrievalTask(temperature=0.2, refined_logq=True).losses_of(batch).numpy()
    of_dual = DualTerm(0.1, RetrievalTask(temperature=0.2)).losses_of(batch).numpy()
    for row in range(3):
        scores, logq = columns_of(queries, candidates, vectors, present, row, expected)
        options = {"temperature": 0.2, "positive_columns": [row]}
        (loss,) = reference.in_batch_softmax(scores, sampling_probability=logq, **options)
        np.testing.assert_allclose(reached[row], loss, rtol=1e-5)
        # Refined logQ leaves the positive out of the correction, so mined ones have none either.
        logq[3:] = 1.0
        (loss,) = reference.refined_softmax(scores, sampling_probability=logq, **options)
        np.testing.assert_allclose(refined[row], loss, rtol=1e-4)
        scores, _ = columns_of(
            candidates, queries, mined.queries.numpy(), mined.queries_present.numpy(), row, expected
        )
        (loss,) = reference.in_batch_softmax(scores, **options)
        np.testing.assert_allclose(of_dual[row], loss, rtol=1e-5)


def test_same_tower_and_hardest_negatives_keep_the_mined_ones():
    queries, candidates, mined = case(3)
    batch, plain = (batch_of(queries, candidates, negatives=n) for n in (mined, None))
    margins = mined_margins(queries, candidates, mined.candidates, mined.present, temperature=0.2)
    for form in ({"num_hard_negatives": 1}, {"same_tower": "query"}):
        task = RetrievalTask(temperature=0.2, **form)
        expected = np.log(np.exp(task.losses_of(plain)) + np.exp(margins).sum(axis=1))
        np.testing.assert_allclose(task.losses_of(batch), expected, rtol=1e-5)


def test_padding_has_no_gradient_and_a_row_without_negatives_keeps_its_loss():
    queries, candidates, mined = case(4)
    present = np.array([[True, False, True, False]] * 2 + [[False] * 4])

    def loss(vectors):
        negatives = MinedNegatives(vectors, tf.constant(present))
        return RetrievalTask(temperature=0.1).losses_of(
            batch_of(queries, candidates, negatives=negatives)
        )

    (gradient,) = gradient_of(loss, mined.candidates.numpy())
    np.testing.assert_array_equal(np.abs(gradient).max(axis=2) > 0, present)
    plain = RetrievalTask(temperature=0.1).losses_of(batch_of(queries, candidates))
    np.testing.assert_allclose(loss(mined.candidates)[2], plain[2], rtol=1e-6)


def test_narrower_vectors_have_narrower_mined_negatives():
    queries, candidates, mined = case(5)
    task = RetrievalTask(temperature=0.2)

    def cut(values):
        values = np.asarray(values)[..., :2]
        return tf.constant(values / np.linalg.norm(values, axis=-1, keepdims=True))

    narrow = MinedNegatives(
        cut(mined.candidates), mined.present, cut(mined.queries), mined.queries_present
    )
    expected = batch_of(cut(queries), cut(candidates), negatives=narrow)
    batch = batch_of(queries, candidates, negatives=mined).narrowed(2)
    for term in (task, DualTerm(0.1, task)):
        np.testing.assert_allclose(term.losses_of(batch), term.losses_of(expected), rtol=1e-5)
