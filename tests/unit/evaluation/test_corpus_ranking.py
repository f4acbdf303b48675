from dataclasses import replace

import numpy as np
import pytest

from tests.reference.cascade import cascade as oracle
from tests.unit.evaluation.stages import CANDIDATE_SHAPES, QUERY_SHAPES, random_stage, second_stage
from tests.unit.evaluation.world import make_world
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.evaluation import corpus_ranking, pre_ranker_scores
from tfrs_twotower.evaluation.corpus_ranking import (
    EmbeddingScorer,
    SameForAll,
    rank_cascade,
    rank_corpus,
)
from tfrs_twotower.evaluation.evaluated_data import SecondStage
from tfrs_twotower.ranking import GroundTruth
from tfrs_twotower.ranking.order import re_rank
from tfrs_twotower.ranking.ragged import Ragged

ELIGIBLE = np.ones(30, bool)


def queries_of(embeddings, seen, relevant=None):
    count = len(embeddings)
    return QuerySet(
        GroundTruth.from_lists(relevant or [[0]] * count),
        Ragged.from_lists(seen),
        embeddings=np.asarray(embeddings, np.float32),
    )


def table(finals, asked):
    """Final scores given for each query and row; the requests are noted."""
    finals = np.asarray(finals, np.float32)

    def re_score(queries, rows, scores):
        asked.append((queries.tolist(), rows.tolist()))
        return finals[queries[:, None], np.maximum(rows, 0)]

    return re_score


@pytest.fixture(scope="module")
def world():
    return make_world()


@pytest.fixture(scope="module")
def scorer(world):
    return EmbeddingScorer(world.test.embeddings, world.corpus.vectors)


def test_hand_worked_three_queries_six_candidates():
    """Retrieval scores are the numbers below; three candidates are scored again.

    q0: pool 5 4 3 (scores 6 5 4); finals 5: .1, 4: .3, 3: .2           -> 4 3 5
    q1: the reverse order, 0 and 1 seen, so the pool is 2 3 4; finals tie -> 2 3 4
    q2: only 1 and 4 may be ranked: pool 4 1 and a pad; finals 4: -9, 1: -2 -> 1 4 -1
    """
    one, six = np.eye(3), np.array([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], [3, 3, 3, 3, 4, 3]])
    finals = [[9, 9, 9, 0.2, 0.3, 0.1], [9, 9, 0.5, 0.5, 0.5, 9], [9, -2, 9, 9, -9, 9]]
    result = rank_cascade(
        EmbeddingScorer(one, six.T),
        queries_of(one, [[], [0, 1], [0, 2, 3, 5]], [[0, 3], [2, 4], [5]]),
        np.ones(6, bool),
        SecondStage(3, table(finals, asked := [])),
        4,
    )
    assert asked == [([0, 1, 2], [[5, 4, 3], [2, 3, 4], [4, 1, -1]])]
    assert result.pool_recall.tolist() == [1 / 2, 2 / 2, 0 / 1]
    assert result.ranked.tolist() == [[4, 3, 5, -1], [2, 3, 4, -1], [1, 4, -1, -1]]
    assert result.retrieved.tolist() == [[5, 4, 3, 2], [2, 3, 4, 5], [4, 1, -1, -1]]


@pytest.mark.parametrize(("size", "k"), [(7, 5), (12, 12), (4, 10), (40, 10)])
def test_agrees_with_the_oracle(world, scorer, size, k):
    random = np.random.default_rng(size)
    heads = [random.normal(size=(40, *shape)) for shape in QUERY_SHAPES]
    cached = [random.normal(size=(30, *shape)) for shape in CANDIDATE_SHAPES]
    signals, weights = random.normal(size=(30, 2)), (0.7, 0.4, 0.3, -0.2, 0.1)
    eligible = np.arange(30) % 5 != 0
    stage = second_stage(heads, cached, signals, weights, size)
    result = rank_cascade(scorer, world.test, eligible, stage, k)
    for query in range(40):
        left_out = {*world.test.seen[query].tolist(), *np.flatnonzero(~eligible).tolist()}
        pool, ranked = oracle(
            world.test.embeddings[query], world.corpus.vectors,
            [own[query] for own in heads], cached, signals,
            weights=weights, left_out=left_out, size=size, k=k,
        )  # fmt: skip
        relevant = set(world.test.truth.relevant[query].tolist())
        assert result.pool_recall[query] == len(relevant & set(pool)) / len(relevant)
        assert [row for row in result.ranked[query] if row >= 0] == ranked
        assert (result.ranked[query, len(ranked) :] == -1).all()


@pytest.mark.parametrize("size", [3, 10, 30])
def test_the_retrieval_score_alone_keeps_retrievals_order(world, scorer, size):
    stage = random_stage(1, 40, 30, (1.0, 0.0, 0.0, 0.0, 0.0), size)
    result = rank_cascade(scorer, world.test, ELIGIBLE, stage, 10)
    width = min(size, 10)
    np.testing.assert_array_equal(result.ranked[:, :width], result.retrieved[:, :width])
    assert (result.ranked[:, width:] == -1).all()


def test_the_order_of_equal_retrieval_scores_is_kept_too():
    stage = random_stage(1, 4, 6, (1.0, 0.0, 0.0), 5)
    result = rank_cascade(
        EmbeddingScorer(np.ones((4, 2), np.float32), np.ones((6, 2), np.float32)),
        queries_of(np.ones((4, 2)), [[], [0], [1, 2], []]),
        np.ones(6, bool),
        stage,
        3,
    )
    assert result.ranked.tolist() == [[0, 1, 2], [1, 2, 3], [0, 3, 4], [0, 1, 2]]


def test_one_ranking_for_all_is_the_ranking_of_each(world):
    """Ties, seen candidates and candidates that may not be ranked, short lists too."""
    scores = np.random.default_rng(0).integers(0, 4, 30).astype(np.float32)
    eligible = np.arange(30) % 4 != 0
    for k in (1, 5, 25):
        once = rank_corpus(SameForAll(scores), world.test, eligible, k)
        each = rank_corpus(
            lambda queries: np.tile(scores, (len(queries), 1)), world.test, eligible, k
        )
        np.testing.assert_array_equal(once, each)


def test_without_a_second_stage_the_cascade_is_retrieval(world, scorer):
    result = rank_cascade(scorer, world.test, ELIGIBLE, None, 10)
    assert result.pool_recall is None
    np.testing.assert_array_equal(result.ranked, result.retrieved)


def test_permuting_candidates_with_their_heads_renames_them(world):
    random = np.random.default_rng(5)
    heads, cached = [random.normal(size=(40, 3, 4))], random.normal(size=(30, 2, 4))
    signals, weights = random.normal(size=(30, 1)), (0.5, 0.5, 0.5)
    place = random.permutation(30)  # candidate r becomes place[r]
    back = np.argsort(place)

    def rank(vectors, seen, cached, signals):
        return rank_cascade(
            EmbeddingScorer(world.test.embeddings, vectors),
            replace(world.test, seen=seen),
            ELIGIBLE,
            second_stage(heads, [cached], signals, weights, 12),
            8,
        ).ranked

    before = rank(world.corpus.vectors, world.test.seen, cached, signals)
    moved = Ragged.from_lists([place[world.test.seen[query]] for query in range(40)])
    after = rank(world.corpus.vectors[back], moved, cached[back], signals[back])
    np.testing.assert_array_equal(after, place[before])


def test_small_chunks_give_the_same_answer(world, scorer, monkeypatch):
    stage = random_stage(2, 40, 30, (0.3, 0.6, 0.4, 0.1), 12)
    whole = rank_cascade(scorer, world.test, ELIGIBLE, stage, 10)
    monkeypatch.setattr(corpus_ranking, "CHUNK_BYTES", 4 * 30 * 7)
    monkeypatch.setattr(pre_ranker_scores, "CHUNK_BYTES", 4 * 12 * 5 * (1 + 2) * 2)
    monkeypatch.setattr(pre_ranker_scores, "_QUERIES_AT_ONCE", 5)
    for one, other in zip(
        whole, rank_cascade(scorer, world.test, ELIGIBLE, stage, 10), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_ties_go_to_the_lower_row_and_pads_stay_last():
    rows = np.array([[7, 3, -1, 5], [-1, -1, -1, -1]])
    scores = np.array([[-1e30, 2.0, np.nan, 2.0], [np.nan, 0.0, 1.0, np.inf]])
    assert re_rank(rows, scores).tolist() == [[3, 5, 7, -1], [-1, -1, -1, -1]]
    lowest = np.array([[-np.inf, 0.0, 9.0, -np.inf]])
    assert re_rank(np.array([[7, 3, -1, 5]]), lowest).tolist() == [[3, 5, 7, -1]]


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="a score is NaN"):
        re_rank(np.array([[1, 2]]), np.array([[0.0, np.nan]]))


def test_heads_that_are_not_finite_are_named(world, scorer):
    cached = np.full((30, 2, 4), np.nan)
    stage = second_stage([np.ones((40, 3, 4))], [cached], np.zeros((30, 0)), (1.0, 1.0), 5)
    with pytest.raises(
        CorruptArtifact, match="pre_ranker: a score of the pre-ranker is not finite"
    ):
        rank_cascade(scorer, world.test, ELIGIBLE, stage, 5)
