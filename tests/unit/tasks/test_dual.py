import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import gradient_of
from tests.reference import losses as reference
from tests.unit.tasks.batches import batch_of, second_share
from tfrs_twotower.losses.masks import KnownPositives
from tfrs_twotower.tasks.objective import Objective
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.tasks.terms import DualTerm

# Unit vectors with q.d+ = .8, q.d- = .6 and q-.d+ = .5.
QUERIES = np.array([[1, 0, 0], [0.5 * 0.8, 0.5 * 0.6, 0.75**0.5]])
CANDIDATES = np.array([[0.8, 0.6, 0], [0.6, 0.8, 0]])


def softplus(x):
    return np.log1p(np.exp(x))


def test_golden_of_a_quadruple():
    retrieval = RetrievalTask(temperature=0.1)
    batch = batch_of(QUERIES, CANDIDATES)
    forth = retrieval.losses_of(batch).numpy()[0]
    back = DualTerm(0.1, retrieval).losses_of(batch).numpy()[0]
    np.testing.assert_allclose(forth, softplus((0.6 - 0.8) / 0.1), rtol=1e-5)
    np.testing.assert_allclose(back, softplus((0.5 - 0.8) / 0.1), rtol=1e-5)
    assert forth + 0.1 * back == pytest.approx(0.131787, abs=1e-6)


def test_property_6_8_1_weight_zero_leaves_the_loss_of_the_triples():
    retrieval = RetrievalTask(temperature=0.1)
    dual = DualTerm(0.0, retrieval)
    losses = retrieval.losses_of(batch_of(QUERIES, CANDIDATES))
    objective = Objective({term.name: term.weight for term in (retrieval, dual)})
    assert list(objective.weights) == ["retrieval"]
    total, _ = objective({"retrieval": losses})
    scores = QUERIES @ CANDIDATES.T
    triples = softplus((scores[[0, 1], [1, 0]] - scores[[0, 1], [0, 1]]) / 0.1)
    assert float(total) == pytest.approx(triples.mean(), rel=1e-5)


def test_property_6_8_2_swapping_the_towers_swaps_the_terms():
    retrieval = RetrievalTask(temperature=0.1)
    dual = DualTerm(0.1, retrieval)
    there, swapped = batch_of(QUERIES, CANDIDATES), batch_of(CANDIDATES, QUERIES)
    np.testing.assert_allclose(dual.losses_of(there), retrieval.losses_of(swapped), rtol=1e-6)
    np.testing.assert_allclose(retrieval.losses_of(there), dual.losses_of(swapped), rtol=1e-6)


def test_property_6_8_3_no_negative_query_has_the_candidate_among_its_positives():
    # Query 2 likes candidate 0 as well, so it is no negative of candidate 0.
    known = KnownPositives(
        np.array([0, 1, 2, 2]), np.array([0, 1, 2, 0]), num_queries=3, num_candidates=3
    )
    hidden = known.hits(tf.range(3), tf.range(3))
    vectors = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    term = DualTerm(0.1, RetrievalTask(temperature=0.5))
    of_queries, _ = gradient_of(
        lambda q, c: term.losses_of(batch_of(q, c, hidden=hidden))[0], *vectors
    )
    np.testing.assert_array_equal(np.abs(of_queries).max(axis=1) > 0, [True, True, False])


def test_a_learned_temperature_is_shared():
    retrieval = RetrievalTask(temperature=0.5, learn_temperature=True)
    with tf.GradientTape() as tape:
        losses = DualTerm(0.1, retrieval).losses_of(batch_of(QUERIES, CANDIDATES))
    assert float(tape.gradient(losses, retrieval.trainable_variables)[0]) != 0.0


@pytest.mark.parametrize("seed", range(3))
def test_a_replicas_share_meets_the_queries_of_all(seed):
    batch = second_share(seed)
    scores = batch.candidate.embedding.numpy() @ batch.all_query.embedding.numpy().T
    expected = reference.in_batch_softmax(
        scores,
        temperature=0.2,
        hidden=batch.reverse_hidden.numpy(),
        positive_columns=batch.positive_columns.numpy(),
    )
    losses = DualTerm(0.1, RetrievalTask(temperature=0.2)).losses_of(batch)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
