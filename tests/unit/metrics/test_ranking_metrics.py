import numpy as np
import pytest

from tests.reference import metrics as reference
from tfrs_twotower.metrics import (
    average_precision,
    coverage,
    hit_rate,
    judge,
    judge_places,
    ndcg,
    parse_metric,
    per_query,
    places_of,
    popularity_lift,
    precision,
    ranking_metrics,
    recall,
    reciprocal_rank,
)
from tfrs_twotower.ranking import GroundTruth
from tfrs_twotower.ranking.ragged import Ragged


def judged_one(ranked, relevant, gains=None):
    truth = GroundTruth.from_lists([relevant], None if gains is None else [gains])
    return judge(np.array([ranked]), truth)


def test_take_keeps_the_truth_of_each_query():
    truth = GroundTruth.from_lists([[1], [2, 3], [4]], [[1.0], [2.0, 3.0], [4.0]])
    taken = truth.take(np.array([2, 1]))
    assert taken.relevant.values.tolist() == [4, 2, 3]
    assert taken.gains.tolist() == [4.0, 2.0, 3.0]


def test_refuses_a_list_with_the_same_row_twice():
    with pytest.raises(ValueError, match="same row twice"):
        judged_one([1, 1], [1])


def test_refuses_k_beyond_the_list():
    with pytest.raises(ValueError, match="k is 3, but the judged lists have 2 ranks"):
        recall(judged_one([1, 2], [1]), 3)


def test_refuses_gains_that_are_not_positive():
    with pytest.raises(ValueError, match="every gain must be > 0"):
        GroundTruth.from_lists([[1]], [[0.0]])


def test_refuses_a_relevant_row_that_occurs_twice():
    with pytest.raises(ValueError, match="occurs twice for one query"):
        GroundTruth.from_lists([[1, 1]])


def test_hits_at_ranks_one_and_three():
    judged = judged_one([7, 1, 9, 2, 3], [7, 9])
    assert recall(judged, 1) == 1 / 2
    assert recall(judged, 3) == 2 / 2
    assert hit_rate(judged, 1) == 1
    assert precision(judged, 5) == 2 / 5
    assert reciprocal_rank(judged, 5) == 1 / 1
    assert average_precision(judged, 5) == pytest.approx((1 / 1 + 2 / 3) / 2)
    expected = (1 + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert ndcg(judged, 5)[0] == pytest.approx(expected, abs=1e-12)
    assert ndcg(judged, 5)[0] == pytest.approx(0.919721, abs=1e-6)


def test_graded_gains_are_linear():
    judged = judged_one([5, 4], [4, 5], [3.0, 1.0])
    assert ndcg(judged, 2)[0] == pytest.approx((1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3)))


def test_recall_divides_by_all_relevant_even_beyond_k():
    assert recall(judged_one([0, 1], list(range(10))), 2) == 2 / 10


def test_short_lists_keep_k_in_the_denominator():
    judged = judged_one([3, -1, -1, -1], [3])
    assert precision(judged, 4) == 1 / 4


def test_an_empty_query_scores_zero_everywhere():
    judged = judged_one([1, 2], [])
    for name in ("recall@2", "hit_rate@2", "precision@2", "ndcg@2", "mrr@2", "map@2"):
        assert per_query(name, judged) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_reference(seed):
    generator = np.random.default_rng(seed)
    ranked = np.stack([generator.permutation(40)[:15] for _ in range(30)])
    ranked[::3, 10:] = -1
    relevant = [generator.choice(40, generator.integers(1, 25), replace=False) for _ in range(30)]
    gains = [generator.integers(1, 6, len(rows)).astype(float) for rows in relevant]
    judged = judge(ranked, GroundTruth.from_lists(relevant, gains))
    for k in (1, 4, 15):
        for query in range(30):
            row = [int(r) for r in ranked[query] if r >= 0]
            graded = dict(zip(map(int, relevant[query]), gains[query], strict=True))
            expected = {
                recall: reference.recall(row, graded, k),
                hit_rate: reference.hit_rate(row, graded, k),
                precision: reference.precision(row, graded, k),
                reciprocal_rank: reference.mrr(row, graded, k),
                average_precision: reference.average_precision(row, graded, k),
                ndcg: reference.ndcg(row, graded, k),
            }
            for metric, value in expected.items():
                assert metric(judged, k)[query] == pytest.approx(value, abs=1e-12)


def test_the_places_of_a_part_judge_as_the_lists_do():
    ranked = np.array([[4, 2, 7], [1, 3, -1], [5, 6, 0]])
    truth = GroundTruth.from_lists([[7, 4, 9], [0], [6]], [[1.0, 3.0, 2.0], [1.0], [5.0]])
    places = places_of(ranked, truth)
    assert places.tolist() == [2, 0, -1, -1, 1]
    keep = np.array([True, False, True, True, True])
    part = truth.where(keep)
    found, expected = judge_places(places[keep], part, 3), judge(ranked, part)
    assert found.gains.tolist() == expected.gains.tolist() == [[0, 0, 1], [0, 0, 0], [0, 5, 0]]
    assert found.ideal_gains.tolist() == [[2, 1, 0], [1, 0, 0], [5, 0, 0]]
    assert found.num_relevant.tolist() == [2, 1, 1]


def test_lists_are_judged_alike_in_any_number_of_steps(monkeypatch):
    generator = np.random.default_rng(1)
    ranked = np.stack([generator.permutation(40)[:15] for _ in range(30)])
    relevant = [generator.choice(40, generator.integers(0, 9), replace=False) for _ in range(30)]
    truth = GroundTruth.from_lists(relevant)
    at_once = judge(ranked, truth)
    monkeypatch.setattr(ranking_metrics, "_COMPARED_AT_ONCE", 45)
    np.testing.assert_array_equal(judge(ranked, truth).gains, at_once.gains)
    assert at_once.hits(15).sum() > 30


@pytest.mark.parametrize("name", ["recall@5", "hit_rate@5", "precision@5", "ndcg@5", "mrr@5"])
def test_moving_a_relevant_candidate_up_never_hurts(name):
    generator = np.random.default_rng(0)
    for _ in range(50):
        ranked = generator.permutation(10)
        relevant = generator.choice(10, 3, replace=False)
        rank = int(generator.integers(1, 10))
        if ranked[rank] not in relevant:
            continue
        better = ranked.copy()
        better[[rank - 1, rank]] = better[[rank, rank - 1]]
        before = per_query(name, judged_one(ranked, relevant))[0]
        assert per_query(name, judged_one(better, relevant))[0] >= before - 1e-12


def test_a_perfect_ranking_scores_one():
    judged = judged_one([4, 2, 0, 1], [2, 4])
    for metric in (recall, ndcg, average_precision, reciprocal_rank):
        assert metric(judged, 4)[0] == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["recall", "recall@", "recall@0", "f1@10", "recall@ten"])
def test_refuses_unknown_names(name):
    with pytest.raises(ValueError, match="is not a ranking metric"):
        parse_metric(name)


def test_coverage_ignores_padding():
    assert coverage(np.array([[0, 1], [1, -1]]), 2, 8) == 2 / 8


def test_popularity_lift_compares_lists_with_profiles():
    popularity = np.array([10.0, 2.0, 4.0])
    ranked = np.array([[0, 1], [0, -1], [0, 1]])
    profiles = Ragged.from_lists([[1, 2], [2], []])
    recommended, chosen = popularity_lift(ranked, 2, profiles, popularity)
    np.testing.assert_allclose(recommended, [(10 + 2) / 2, 10, np.nan])
    np.testing.assert_allclose(chosen, [(2 + 4) / 2, 4, np.nan])
