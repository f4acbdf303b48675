"""The terms of the objective on batches that are made without towers."""

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import gradient_of
from tests.reference import dat, inttower
from tests.reference import losses as reference
from tests.unit.tasks.batches import HEADS, batch_of, second_share
from tfrs_twotower.config import (
    CategoryAlignmentConfig,
    ContrastiveInteractionConfig,
    MatryoshkaConfig,
)
from tfrs_twotower.layers.seeded import WeightMaker
from tfrs_twotower.losses.negative_columns import KnownPositives
from tfrs_twotower.tasks.objective import Objective, weighted_mean
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.tasks.terms import (
    CategoryAlignmentTerm,
    ContrastiveInteractionTerm,
    DualTerm,
    InteractionTerm,
    MatryoshkaTerm,
    MimicTerm,
)
from tfrs_twotower.towers.tower import PairScorer, TowerOutput


def scorer(scale=1.0):
    made = PairScorer(WeightMaker(0).under("scorer"))
    (log_scale,) = [v for v in made.trainable_variables if "log_scale" in v.name]
    log_scale.assign(np.log(scale))
    return made


def test_matryoshka_by_hand():
    """The first entries of (3, 4) and (-3, 4) are 1 and -1 when they have unit length."""
    batch = batch_of([[0.6, 0.8], [-0.6, 0.8]], [[0.6, 0.8], [-0.6, 0.8]])
    term = MatryoshkaTerm(MatryoshkaConfig(widths=[1]), RetrievalTask())
    np.testing.assert_allclose(term.losses_of(batch), 2 * [np.log(np.e + 1 / np.e) - 1], rtol=1e-6)


@pytest.mark.parametrize("same_tower", ["none", "query", "both"])
def test_matryoshka_is_the_mean_of_the_softmaxes_of_shorter_vectors(same_tower):
    batch = second_share(4)
    task = RetrievalTask(temperature=0.2, same_tower=same_tower)

    def cut(values, width):
        values = values.numpy()[:, :width]
        return tf.constant(values / np.linalg.norm(values, axis=1, keepdims=True))

    expected = []
    for width in (2, 5):
        sides = {
            name: getattr(batch, name)._replace(
                embedding=cut(getattr(batch, name).embedding, width)
            )
            for name in ("query", "candidate", "all_query", "all_candidate")
        }
        short = type(batch)(**{**vars(batch), **sides, "columns": cut(batch.columns, width)})
        expected.append(task.losses_of(short))
    term = MatryoshkaTerm(MatryoshkaConfig(widths=[2, 5], weight=0.5), task)
    assert term.weight == 0.5
    np.testing.assert_allclose(term.losses_of(batch), np.mean(expected, axis=0), rtol=1e-5)
    whole = MatryoshkaTerm(MatryoshkaConfig(widths=[8]), task)
    np.testing.assert_allclose(whole.losses_of(batch), task.losses_of(batch), rtol=1e-5)


def test_interaction_by_hand():
    # Query heads (1, 0) and (0, 1). Candidate 0 has heads (2, 0) and (0, 1): 2 + 1 = 3; candidate 1
    # has (1, 1) twice: 1 + 1 = 2. Query 1 has heads (1, 0) twice: 2 + 2 and 1 + 1.
    queries = TowerOutput(tf.eye(2), tf.constant([[[1.0, 0], [0, 1]], [[1, 0], [1, 0]]]))
    candidates = TowerOutput(tf.eye(2), tf.constant([[[2.0, 0], [0, 1]], [[1, 1], [1, 1]]]))
    batch = batch_of(
        np.eye(2),
        np.eye(2),
        query=queries,
        candidate=candidates,
        all_query=queries,
        all_candidate=candidates,
    )
    losses = InteractionTerm(1.0, scorer(), 1.0).losses_of(batch)
    expected = [np.log(np.exp(3) + np.exp(2)) - 3, np.log(np.exp(4) + np.exp(2)) - 2]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("with_lists", [True, False])
def test_interaction_scores_positives_drawn_and_mined_candidates(seed, with_lists):
    batch = second_share(seed)
    if not with_lists:
        batch = type(batch)(**{**vars(batch), "mined": None})
    heads = [batch.all_candidate.heads, batch.drawn.heads]
    hidden = [batch.hidden[:, :10]]
    expected = batch.sampled_expected.numpy()
    if with_lists:
        heads.append(batch.mined.candidates.heads)
        hidden.append(batch.mined.hidden)
        # Mined candidates were not sampled and get no correction.
        expected = np.concatenate([expected, np.ones(7)])
    scores = inttower.interaction_scores(batch.query.heads.numpy(), np.concatenate(heads))
    losses = reference.in_batch_softmax(
        2.0 * scores,
        sampling_probability=expected,
        logq_strength=0.7,
        hidden=np.concatenate(hidden, axis=1),
        positive_columns=[3, 4, 5],
    )
    actual = InteractionTerm(1.0, scorer(2.0), 0.7).losses_of(batch)
    np.testing.assert_allclose(actual, losses, rtol=1e-4, atol=1e-5)


def test_interaction_without_a_correction():
    batch = second_share(0)
    batch = type(batch)(**{**vars(batch), "expected": None, "sampled_expected": None})
    even = type(batch)(**{**vars(batch), "sampled_expected": tf.ones(10)})
    term = InteractionTerm(1.0, scorer(), 1.0)
    np.testing.assert_allclose(term.losses_of(batch), term.losses_of(even), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_contrastive_interaction_compares_the_last_layers_heads(seed):
    batch = second_share(seed)
    expected = reference.contrastive_interaction(
        batch.query.heads.numpy()[:, -HEADS:],
        batch.all_candidate.heads.numpy(),
        temperature=0.3,
        hidden=batch.hidden.numpy()[:, :6],
        positive_columns=[3, 4, 5],
    )
    term = ContrastiveInteractionTerm(ContrastiveInteractionConfig(weight=0.2, temperature=0.3))
    assert (term.name, term.weight) == ("contrastive_interaction", 0.2)
    np.testing.assert_allclose(term.losses_of(batch), expected, rtol=1e-4)


def test_mimic_of_each_side_imitates_the_others_embedding():
    # |(3, 4) - (0, 0)|^2 = 25, |(1, 0) - (1, 1)|^2 = 1.
    queries = TowerOutput(tf.constant([[1.0, 1.0]]), augmented=tf.constant([[3.0, 4.0]]))
    candidates = TowerOutput(tf.constant([[0.0, 0.0]]), augmented=tf.constant([[1.0, 0.0]]))
    batch = batch_of(np.eye(1), np.eye(1), query=queries, candidate=candidates)
    for side, expected in (("query", 25.0), ("candidate", 1.0)):
        term = MimicTerm(side, 0.5)
        assert term.name == f"mimic_{side}"
        np.testing.assert_allclose(term.losses_of(batch), [expected])


def test_mimic_moves_nothing_but_the_augmented_vectors():
    def loss(embedding, augmented):
        outputs = {
            "query": TowerOutput(embedding, augmented=augmented),
            "candidate": TowerOutput(embedding, augmented=augmented),
        }
        batch = batch_of(np.eye(2), np.eye(2), **outputs)
        return MimicTerm("query", 1.0).losses_of(batch) + MimicTerm("candidate", 1.0).losses_of(
            batch
        )

    of_embedding, of_augmented = gradient_of(loss, np.eye(2), np.ones((2, 2)))
    np.testing.assert_array_equal(of_embedding, 0.0)
    np.testing.assert_array_equal(of_augmented, [[0.0, 4.0], [4.0, 0.0]])


@pytest.mark.parametrize("seed", range(3))
def test_category_alignment_is_one_number_for_the_global_batch(seed):
    batch = second_share(seed)
    config = CategoryAlignmentConfig(feature="genre", scale_by_dim=True)
    losses = CategoryAlignmentTerm(config).losses_of(batch)
    expected = 8 * dat.category_alignment(
        batch.all_candidate.embedding.numpy(),
        batch.all_candidate_tokens["genre"].numpy(),
        batch.all_candidate_rows.numpy(),
    )
    assert expected > 0
    np.testing.assert_allclose(losses, [expected] * 3, rtol=1e-4)
    weights = tf.constant([0.5, 0.0, 3.0])
    np.testing.assert_allclose(weighted_mean(losses, weights), expected, rtol=1e-4)


# Unit vectors with q.d+ = .8, q.d- = .6 and q-.d+ = .5.
QUERIES = np.array([[1, 0, 0], [0.5 * 0.8, 0.5 * 0.6, 0.75**0.5]])
CANDIDATES = np.array([[0.8, 0.6, 0], [0.6, 0.8, 0]])


def softplus(x):
    return np.log1p(np.exp(x))


def test_dual_by_hand_on_a_quadruple():
    retrieval = RetrievalTask(temperature=0.1)
    batch = batch_of(QUERIES, CANDIDATES)
    forth = retrieval.losses_of(batch).numpy()[0]
    back = DualTerm(0.1, retrieval).losses_of(batch).numpy()[0]
    np.testing.assert_allclose(forth, softplus((0.6 - 0.8) / 0.1), rtol=1e-5)
    np.testing.assert_allclose(back, softplus((0.5 - 0.8) / 0.1), rtol=1e-5)
    assert forth + 0.1 * back == pytest.approx(0.131787, abs=1e-6)


def test_dual_weight_zero_leaves_the_loss_of_the_triples():
    retrieval = RetrievalTask(temperature=0.1)
    dual = DualTerm(0.0, retrieval)
    losses = retrieval.losses_of(batch_of(QUERIES, CANDIDATES))
    objective = Objective({term.name: term.weight for term in (retrieval, dual)})
    assert list(objective.weights) == ["retrieval"]
    total, _ = objective({"retrieval": losses})
    scores = QUERIES @ CANDIDATES.T
    triples = softplus((scores[[0, 1], [1, 0]] - scores[[0, 1], [0, 1]]) / 0.1)
    assert float(total) == pytest.approx(triples.mean(), rel=1e-5)


def test_swapping_the_towers_swaps_retrieval_and_dual():
    retrieval = RetrievalTask(temperature=0.1)
    dual = DualTerm(0.1, retrieval)
    there, swapped = batch_of(QUERIES, CANDIDATES), batch_of(CANDIDATES, QUERIES)
    np.testing.assert_allclose(dual.losses_of(there), retrieval.losses_of(swapped), rtol=1e-6)
    np.testing.assert_allclose(retrieval.losses_of(there), dual.losses_of(swapped), rtol=1e-6)


def test_a_query_with_the_candidate_among_its_positives_is_not_a_negative():
    # Candidate 0 is a positive of query 2 as well, so query 2 is not a negative of candidate 0.
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


def test_dual_shares_a_learned_temperature():
    retrieval = RetrievalTask(temperature=0.5, learn_temperature=True)
    with tf.GradientTape() as tape:
        losses = DualTerm(0.1, retrieval).losses_of(batch_of(QUERIES, CANDIDATES))
    assert float(tape.gradient(losses, retrieval.trainable_variables)[0]) != 0.0


@pytest.mark.parametrize("seed", range(3))
def test_dual_compares_a_replicas_share_with_the_queries_of_all(seed):
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
