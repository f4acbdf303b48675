"""What each part of IntTower contributes, on planted sets that only this part can rank."""

import pytest
import tensorflow as tf

from tests.contracts.tower_contract import tensors
from tests.fixtures.planted_inttower import (
    both_facets,
    mode_decides,
    pair_accuracy,
    recall_at_relevant,
)
from tests.fixtures.tiny import tiny_run_config
from tfrs_twotower.keras_api import keras
from tfrs_twotower.towers.build import build_towers

MODEL = {"kind": "inttower", "embedding_dim": 16, "num_residual_layers": 0}
"""Towers whose only nonlinearity is the part that a test is about."""
USERS = {"num_candidate_heads": 1, "head_dim": 16, "id_dropout": 0.9}
NUM_STEPS = 300


def fe_scores_after_training(planted, seed, **model):
    """FE scores `[test queries, candidates]` after a softmax over all candidates."""
    config = tiny_run_config(model={**MODEL, **model}).model
    towers = build_towers(planted.spec, config, planted.assets, seed=seed)
    queries = towers.query.inputs(tensors(planted.train))
    candidates = towers.candidate.inputs(tensors(planted.candidates))
    target = planted.relevant / planted.relevant.sum(axis=1, keepdims=True)
    target = tf.constant(target, tf.float32)
    optimizer = keras.optimizers.Adam(0.02)

    def scores(query_tokens, training):
        query = towers.query.encode(query_tokens, training)
        return towers.scorer.all_pairs(
            query.heads, towers.candidate.encode(candidates, training).heads
        )

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = scores(queries, True)
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, logits))
        variables = towers.trainable_variables
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(
            (gradient, variable)
            for gradient, variable in zip(gradients, variables, strict=True)
            if gradient is not None
        )

    for _ in range(NUM_STEPS):
        step()
    return scores(towers.query.inputs(tensors(planted.test)), False).numpy()


@pytest.mark.parametrize("seed", [1, 2])
def test_two_candidate_heads_see_both_facets(seed):
    planted = both_facets(4)
    scores = fe_scores_after_training(
        planted, seed, field_gate="none", num_candidate_heads=2, head_dim=8
    )
    assert pair_accuracy(scores, planted.pairs) == 1.0
    assert recall_at_relevant(scores, planted.test_relevant) == 1.0


@pytest.mark.parametrize("seed", [1, 2])
def test_one_candidate_head_of_the_same_budget_is_at_chance(seed):
    planted = both_facets(4)
    scores = fe_scores_after_training(
        planted, seed, field_gate="none", num_candidate_heads=1, head_dim=16
    )
    assert pair_accuracy(scores, planted.pairs) == pytest.approx(0.5, abs=0.01)
    assert recall_at_relevant(scores, planted.test_relevant) <= 0.5


@pytest.mark.parametrize("gate", ["light_se", "se"])
def test_a_gate_lets_one_field_say_how_much_others_count(gate):
    planted = mode_decides(3, with_features=True)
    scores = fe_scores_after_training(planted, 1, field_gate=gate, **USERS)
    assert pair_accuracy(scores, planted.pairs) == 1.0
    assert recall_at_relevant(scores, planted.test_relevant) == 1.0


def test_without_a_gate_fields_only_add_up():
    planted = mode_decides(3, with_features=True)
    scores = fe_scores_after_training(planted, 1, field_gate="none", **USERS)
    assert pair_accuracy(scores, planted.pairs) <= 0.75


def test_without_the_users_features_all_is_chance():
    planted = mode_decides(3, with_features=False)
    scores = fe_scores_after_training(planted, 1, field_gate="light_se", **USERS)
    assert pair_accuracy(scores, planted.pairs) == 0.5
