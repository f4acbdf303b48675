"""Slices, the pool that retrieval hands on, and the embeddings' section."""

import numpy as np
import pytest

from tfrs_twotower.evaluation.breakdown import (
    best_order,
    describe_embeddings,
    describe_pool,
    head_candidates,
    sample,
)
from tfrs_twotower.evaluation.evaluated_data import SecondStage
from tfrs_twotower.metrics import judge
from tfrs_twotower.ranking import GroundTruth


def test_the_head_holds_eighty_percent():
    head = head_candidates(np.array([5, 60, 0, 25, 10]))
    assert head.tolist() == [False, True, False, True, False]


def judged(lists, truth):
    return judge(np.array(lists), GroundTruth.from_lists(truth))


def test_hand_worked_pool():
    """Two queries, of which the pool of 3 holds 1 of 2 and 2 of 2: recall@3 = (1/2 + 1) / 2."""
    truth = [[4, 9], [0, 1]]
    pool = describe_pool(
        np.array([1 / 2, 2 / 2]),
        GroundTruth.from_lists(truth),
        SecondStage(3, None, {"retrieval": 1.0, "interaction_0": 0.5}),
        {
            "retrieval": judged([[5, 4, 3], [0, 2, 1]], truth),
            "cascade": judged([[4, 5, 3], [1, 0, 2]], truth),
        },
        (1, 2, 3),
        20,
        0,
    )
    assert pool.num_candidates == 3
    assert pool.weights == {"retrieval": 1.0, "interaction_0": 0.5}
    assert pool.recall.mean == (1 / 2 + 2 / 2) / 2
    means = {
        stage: {key: part.mean for key, part in parts.items()} for stage, parts in pool.kept.items()
    }
    # recall@1 and recall@2 over the ceiling of .75; K = 3 is the whole pool.
    assert means["retrieval"] == {
        "kept@1": (0 + 1 / 2) / 2 / 0.75,
        "kept@2": (1 / 2 + 1 / 2) / 2 / 0.75,
    }
    assert means["cascade"] == {
        "kept@1": (1 / 2 + 1 / 2) / 2 / 0.75,
        "kept@2": (1 / 2 + 2 / 2) / 2 / 0.75,
    }


def test_a_pool_without_anything_relevant_keeps_nothing():
    empty = judged([[5, 4]], [[1]])
    stages = {"retrieval": empty, "cascade": empty}
    pool = describe_pool(
        np.zeros(1), GroundTruth.from_lists([[1]]), SecondStage(2, None), stages, (1,), 20, 0
    )
    assert pool.recall.mean == 0
    assert pool.kept == {"retrieval": {}, "cascade": {}}


def test_the_best_order_of_a_pool_by_hand():
    """Pools that hold one of two, both, and none of the relevant candidates."""
    truth = GroundTruth.from_lists([[4, 9], [0, 1], [7]], [[1.0, 3.0], [1.0, 1.0], [1.0]])
    ranking = best_order(np.array([1 / 2, 1.0, 0.0]), truth, 4)
    # Of two candidates the one that counts more is taken, so that the list is a bound.
    assert ranking.ranked.tolist() == [[9, -1, -1, -1], [0, 1, -1, -1], [-1, -1, -1, -1]]
    stages = {"retrieval": ranking.judged, "cascade": ranking.judged}
    pool = describe_pool(
        np.array([1 / 2, 1.0, 0.0]), truth, SecondStage(50, None), stages, (1, 2), 20, 0
    )
    assert set(pool.best) == {"ndcg@1", "recall@2"}
    assert pool.best["ndcg@1"].mean == pytest.approx((1 + 1 + 0) / 3)
    assert pool.best["recall@2"].mean == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_the_section_of_the_embeddings_by_hand():
    """Queries e0, e1; candidates e0, e1, -e0. Each query's own basis vector is relevant."""
    queries, candidates = np.eye(2, dtype=np.float32), np.array([[1, 0], [0, 1], [-1, 0]])
    space = describe_embeddings(
        queries,
        candidates.astype(np.float32),
        GroundTruth.from_lists([[0], [2]]),
        np.array([[0], [0]]),
        k=1,
        seed=0,
    )
    assert space.embedding_dim == 2
    assert space.alignment == (0 + 2) / 2
    assert space.positive_cosine == (1 + 0) / 2
    assert space.centroid_distance == pytest.approx(np.hypot(1 / 2, 1 / 2 - 1 / 3))
    assert (space.queries.vectors, space.candidates.vectors) == (2, 3)
    assert space.queries.uniformity == pytest.approx(-2 * 2)
    assert space.as_json()["hubness_skewness@1"] == pytest.approx(1 / 2**0.5)


def test_without_pairs_or_several_vectors_figures_are_absent():
    one = np.ones((1, 1), np.float32)
    space = describe_embeddings(
        one, one, GroundTruth.from_lists([[]]), np.array([[0]]), k=1, seed=0
    )
    assert (space.alignment, space.positive_cosine) == (None, None)
    assert (space.queries.uniformity, space.candidates.mean_cosine) == (None, None)


def test_a_sample_is_sorted_and_whole_where_it_can_be():
    generator = np.random.default_rng(0)
    assert sample(3, 5, generator).tolist() == [0, 1, 2]
    drawn = sample(100, 10, generator)
    assert len(set(drawn.tolist())) == 10
    assert (np.diff(drawn) > 0).all()
