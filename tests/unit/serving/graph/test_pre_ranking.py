from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from serving.graph.pre_ranking import PreRanking, as_kept, select_candidates
from tests.reference.search import LOWEST
from tests.unit.serving import fakes
from tests.unit.serving.fake_pre_ranker import LEXICAL_WEIGHTS, WEIGHTS, fake_pre_ranker


def raw(numbers, recent=()):
    queries = fakes.requests(len(numbers), [[]] * len(numbers), np.array(numbers, np.float32))
    del queries["exclude_ids"]
    for row, history in enumerate(recent):
        queries["recent"][row] = (history + [""] * 3)[:3]
    return {name: tf.constant(values) for name, values in queries.items()}


@pytest.fixture(scope="module")
def request_inputs():
    random = np.random.default_rng(0)
    queries = raw([3.0, 8.0, 11.0], [["c04", "c09"], [], ["c01", "c01", "c20"]])
    rows = np.stack([random.choice(25, 9, replace=False) for _ in range(3)]).astype(np.int32)
    scores = random.normal(size=(3, 9)).astype(np.float32)
    return queries, tf.constant(rows), tf.constant(scores)


def offline(pre_ranker, request_inputs):
    queries, rows, scores = request_inputs
    return pre_ranker.scores(pre_ranker.query_heads(queries), rows, scores)


@pytest.mark.parametrize(
    "members",
    [{}, {"linear": False}, {"lexical": True}, {"first": "mol"}, {"first": "cold"}],
    ids=str,
)
@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_scores_are_those_of_the_evaluation(request_inputs, storage, members):
    pre_ranker = fake_pre_ranker(**members)
    scores = PreRanking(pre_ranker, storage)(*request_inputs)
    np.testing.assert_allclose(
        scores, offline(as_kept(pre_ranker, storage), request_inputs), atol=1e-5
    )
    coarse = {"float32": 1e-5, "float16": 2e-2, "int8": 0.2}[storage]
    np.testing.assert_allclose(scores, offline(pre_ranker, request_inputs), atol=coarse)


@pytest.mark.parametrize("number", range(len(WEIGHTS)))
def test_each_weight_meets_its_own_feature(request_inputs, number):
    weights = tuple(2.0 * float(place == number) for place in range(len(WEIGHTS)))
    pre_ranker = fake_pre_ranker(weights=weights)
    np.testing.assert_allclose(
        PreRanking(pre_ranker)(*request_inputs), offline(pre_ranker, request_inputs), atol=1e-5
    )


@pytest.mark.parametrize("number", range(len(LEXICAL_WEIGHTS)))
def test_each_weight_meets_its_own_feature_beside_tastes_and_bm25(request_inputs, number):
    weights = tuple(2.0 * float(place == number) for place in range(len(LEXICAL_WEIGHTS)))
    pre_ranker = fake_pre_ranker(weights=weights, lexical=True)
    np.testing.assert_allclose(
        PreRanking(pre_ranker)(*request_inputs), offline(pre_ranker, request_inputs), atol=1e-5
    )


def test_bm25_alone(request_inputs):
    """Nothing else is stored of a candidate; its score for `red` is that of its own text."""
    pre_ranker = fake_pre_ranker(lexical=True)
    combination = replace(pre_ranker.combination, weights=(0.0, 1.0, 0.0))
    nothing = tf.zeros([25, 0])
    alone = replace(
        pre_ranker,
        members=(),
        linear=None,
        tastes=None,
        combination=combination,
        candidate_signals=nothing,
    )
    queries = {**request_inputs[0], "color": tf.constant(["red", "a hat", ""])}
    inputs = (queries, *request_inputs[1:])
    for storage in ("float32", "int8"):
        scores = PreRanking(alone, storage)(*inputs)
        np.testing.assert_allclose(scores, offline(alone, inputs), atol=1e-6)
    postings = alone.lexical.postings
    expected = np.log1p(postings.scores(np.array([postings.terms.index("red")])))
    np.testing.assert_allclose(scores[0], expected[request_inputs[1][0]], rtol=1e-6)
    assert not scores[2].numpy().any()


def test_a_selection_gives_the_scores_of_the_corpus(request_inputs):
    pre_ranker = fake_pre_ranker(lexical=True)
    queries, rows, scores = request_inputs
    present, places = np.unique(rows, return_inverse=True)
    places = tf.constant(places.reshape(rows.shape))
    queries = {**queries, "color": tf.constant(["red", "blue hat", "number3"])}
    expected = offline(pre_ranker, (queries, rows, scores))
    small = select_candidates(pre_ranker, present)
    np.testing.assert_allclose(offline(small, (queries, places, scores)), expected, rtol=1e-5)


def test_ease_alone(request_inputs):
    pre_ranker = fake_pre_ranker()
    combination = replace(pre_ranker.combination, weights=(0.5, 1.0, 2.0, 0.1, 0.2))
    alone = replace(pre_ranker, members=(), combination=combination)
    np.testing.assert_allclose(
        PreRanking(alone)(*request_inputs), offline(alone, request_inputs), atol=1e-5
    )


def test_one_query_has_the_scores_that_it_has_among_others(request_inputs):
    pre_ranking = PreRanking(fake_pre_ranker())
    queries, rows, scores = request_inputs
    together = pre_ranking(*request_inputs)
    for row in range(3):
        one = {name: value[row : row + 1] for name, value in queries.items()}
        alone = pre_ranking(one, rows[row : row + 1], scores[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], atol=1e-6)


def test_where_there_is_no_candidate_or_no_number_the_score_is_the_lowest():
    rows = tf.constant([[4, -1], [4, 5], [4, 5]])
    beside = tf.constant([[0.1, LOWEST], [0.1, 0.2], [0.1, np.nan]])
    scores = PreRanking(fake_pre_ranker())(raw([1.0, np.nan, 1.0]), rows, beside).numpy()
    assert scores[0, 0] == pytest.approx(scores[2, 0])
    assert np.isfinite(scores).all()
    assert scores[0, 1] == scores[1, 0] == scores[1, 1] == scores[2, 1] == np.float32(LOWEST)


def test_no_candidates_to_score():
    pre_ranking = PreRanking(fake_pre_ranker())
    for numbers in ([], [1.0], [1.0, 2.0]):
        shape = [len(numbers), 0]
        queries = raw(numbers) if numbers else {k: v[:0] for k, v in raw([1.0]).items()}
        scores = pre_ranking(queries, tf.zeros(shape, tf.int32), tf.zeros(shape))
        assert scores.shape == shape


def test_its_variables_hold_each_thing_once():
    """The query side, and one array of 3 x 4 + 6 + 5 numbers a candidate, and one beside it."""
    pre_ranking = PreRanking(fake_pre_ranker())
    assert sorted(tuple(variable.shape) for variable in pre_ranking.variables) == sorted(
        [(25, 2, 4), (25, 1, 6), (27, 5), (0, 5), (25, 23), (25, 1)]
    )
