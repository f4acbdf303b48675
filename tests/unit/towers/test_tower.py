import numpy as np
import pytest
import tensorflow as tf

from tests.reference import inttower as reference
from tfrs_twotower.layers.seeded import WeightMaker
from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.towers.tower import PairScorer


@pytest.fixture
def scorer():
    scorer = PairScorer(WeightMaker(0))
    for variable, value in zip(scorer.variables, (0.5, -2.0), strict=True):
        variable.assign(value)
    assert [v.name for v in scorer.variables] == ["bias:0", "log_scale:0"]
    return scorer


@pytest.fixture
def heads():
    random = np.random.default_rng(0)
    query, candidate = random.normal(size=(5, 4, 3)), random.normal(size=(6, 2, 3))
    return query.astype(np.float32), candidate.astype(np.float32)


def test_a_new_scorer_gives_the_fe_score(heads):
    actual = PairScorer(WeightMaker(0)).all_pairs(*heads)
    np.testing.assert_allclose(actual, reference.interaction_scores(*heads), rtol=1e-5)


def test_scale_and_bias_act_on_the_fe_score(scorer, heads):
    expected = np.exp(-2.0) * reference.interaction_scores(*heads) + 0.5
    np.testing.assert_allclose(scorer.all_pairs(*heads), expected, rtol=1e-5)


def test_listed_candidates_get_the_score_of_the_pair(scorer, heads):
    query, candidate = heads
    rows = np.array([[3, 1], [0, 0], [5, 2], [1, 4], [2, 3]])
    expected = np.take_along_axis(scorer.all_pairs(query, candidate).numpy(), rows, axis=1)
    np.testing.assert_allclose(scorer(query, tf.gather(candidate, rows)), expected, rtol=1e-5)


def test_scale_and_bias_keep_the_order_of_the_fe_score(scorer, heads):
    order = np.argsort(reference.interaction_scores(*heads), axis=1)
    for log_scale in (-3.0, 3.0):
        scorer.variables[1].assign(log_scale)
        np.testing.assert_array_equal(np.argsort(scorer.all_pairs(*heads), axis=1), order)


def test_a_softmax_moves_the_scale_and_a_sigmoid_also_the_bias(scorer, heads):
    with tf.GradientTape(persistent=True) as tape:
        logits = scorer.all_pairs(*heads)
        softmax = tf.reduce_mean(in_batch_softmax(logits))
        sigmoid = tf.reduce_mean(
            tf.nn.sigmoid_cross_entropy_with_logits(tf.eye(*logits.shape), logits)
        )
    bias, scale = tape.gradient(softmax, scorer.variables)
    assert abs(float(bias)) < 1e-6 < 1e-3 < abs(float(scale))
    assert all(abs(float(gradient)) > 1e-3 for gradient in tape.gradient(sigmoid, scorer.variables))
