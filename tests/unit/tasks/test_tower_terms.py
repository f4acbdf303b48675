"""The terms of DAT and IntTower on a batch without towers."""

import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.gradients import gradient_of
from tests.reference import dat, inttower
from tests.reference import losses as reference
from tests.unit.tasks.batches import HEADS, batch_of, second_share
from tfrs_twotower.config import CategoryAlignmentConfig, ContrastiveInteractionConfig
from tfrs_twotower.layers.initial import WeightMaker
from tfrs_twotower.tasks.objective import weighted_mean
from tfrs_twotower.tasks.terms import (
    CategoryAlignmentTerm,
    ContrastiveInteractionTerm,
    InteractionTerm,
    MimicTerm,
)
from tfrs_twotower.towers.tower import PairScorer, TowerOutput


def scorer(scale=1.0):
    made = PairScorer(WeightMaker(0).under("scorer"))
    (log_scale,) = [v for v in made.trainable_variables if "log_scale" in v.name]
    log_scale.assign(np.log(scale))
    return made


def test_hand_worked_interaction():
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
def test_interaction_meets_positives_drawn_and_mined_candidates(seed, with_lists):
    batch = second_share(seed)
    if not with_lists:
        batch = type(batch)(**{**vars(batch), "listed": None})
    heads = [batch.all_candidate.heads, batch.drawn.heads]
    hidden = [batch.hidden[:, :10]]
    expected = batch.sampled_expected.numpy()
    if with_lists:
        heads.append(batch.listed.candidates.heads)
        hidden.append(batch.listed.hidden)
        # What was mined was not sampled: no correction.
        expected = np.concatenate([expected, np.ones(7)])
    scores = inttower.interaction_scores(batch.query.heads.numpy(), np.concatenate(heads))
    losses = reference.in_batch_softmax(
        2.0 * scores,
        sampling_probability=expected,
        logq_strength=0.7,
        hidden=np.concatenate(hidden, axis=1),
        positive_columns=[3, 4, 5],
    )
    found = InteractionTerm(1.0, scorer(2.0), 0.7).losses_of(batch)
    np.testing.assert_allclose(found, losses, rtol=1e-4, atol=1e-5)


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
def test_category_alignment_is_one_number_of_the_global_batch(seed):
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
