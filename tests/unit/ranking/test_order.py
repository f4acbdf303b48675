import numpy as np
import pytest

from tests.contracts.searcher_contract import unit_vectors
from tests.reference import metrics as reference
from tests.reference.search import LOWEST, search
from tfrs_twotower.metrics import judge, recall
from tfrs_twotower.ranking import GroundTruth, order
from tfrs_twotower.ranking.order import (
    LOWEST_SCORE,
    TIE_TOLERANCE,
    ExactLists,
    Overlap,
    exact_top_k,
    overlaps,
    re_rank,
    top_k_rows,
)


def test_ties_go_to_the_lowest_row():
    assert top_k_rows(np.array([[1.0, 3.0, 3.0, 2.0, 2.0]]), 4).tolist() == [[1, 2, 3, 4]]
    assert top_k_rows(np.array([[2.0, 3.0, 2.0, 2.0]]), 2).tolist() == [[1, 0]]


@pytest.mark.parametrize("k", [1, 5, 40])
def test_blocks_of_a_large_corpus_give_the_lists_of_the_whole(monkeypatch, k):
    """Whole numbers tie inside blocks and across them; the last block is a short one."""
    generator = np.random.default_rng(k)
    queries, vectors = (
        generator.integers(-2, 3, (count, 3)).astype(np.float32) for count in (70, 50)
    )
    expected = exact_top_k(queries, vectors, k)
    monkeypatch.setattr(order, "MOST_AT_ONCE", 49)
    monkeypatch.setattr(order, "BLOCK", 12)
    for found, whole in zip(exact_top_k(queries, vectors, k), expected, strict=True):
        np.testing.assert_array_equal(found, whole)


def test_excluded_candidates_are_never_returned():
    scores = np.array([[-np.inf, 1.0, -np.inf]])
    assert top_k_rows(scores, 3).tolist() == [[1, -1, -1]]
    assert top_k_rows(scores, 5).tolist() == [[1, -1, -1, -1, -1]]


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_reference_under_ties(seed):
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 6, (20, 33)).astype(np.float32)
    scores[generator.random(scores.shape) < 0.2] = -np.inf
    for k in (1, 7, 32, 33):
        for rows, row in zip(top_k_rows(scores, k), scores, strict=True):
            assert [int(r) for r in rows if r >= 0] == reference.top_k(row.tolist(), k)


@pytest.mark.parametrize("levels", [2, 30, 10**6])
@pytest.mark.parametrize("num_candidates", [640, 700, 2_003])
def test_long_rows_are_sifted_to_the_same_lists(num_candidates, levels):
    """Many ties, few or none; rows without any candidate, and with fewer than k."""
    generator = np.random.default_rng(levels)
    scores = generator.integers(0, levels, (25, num_candidates)).astype(np.float32)
    scores[generator.random(scores.shape) < 0.2] = -np.inf
    scores[3] = 0.0
    scores[4, 6:] = -np.inf
    scores[5] = -np.inf
    for k in (1, 10):
        for rows, row in zip(top_k_rows(scores, k), scores, strict=True):
            assert [int(r) for r in rows if r >= 0] == reference.top_k(row.tolist(), k)


def test_a_constant_scorer_is_at_chance():
    num_candidates, k = 50, 10
    generator = np.random.default_rng(0)
    relevant = [generator.choice(num_candidates, 3, replace=False) for _ in range(4000)]
    ranked = top_k_rows(np.zeros((4000, num_candidates)), k)
    mean_recall = recall(judge(ranked, GroundTruth.from_lists(relevant)), k).mean()
    assert mean_recall == pytest.approx(k / num_candidates, abs=0.015)


def test_top_k_refuses_nan():
    with pytest.raises(ValueError, match="a score is NaN"):
        top_k_rows(np.array([[np.nan, 1.0]]), 1)
    for place in ((0, 0), (1, 12_345), (2, -1)):
        wide = np.random.default_rng(0).normal(size=(3, 20_000))
        wide[place] = np.nan
        with pytest.raises(ValueError, match="a score is NaN"):
            top_k_rows(wide, 10)


def test_top_k_refuses_a_vector():
    with pytest.raises(ValueError, match="expected a matrix"):
        top_k_rows(np.zeros(3), 1)


def test_re_rank_orders_by_score_then_row_with_missing_rows_last():
    rows = np.array([[7, 2, -1, 5, 3]])
    scores = np.array([[1.0, 4.0, 9.0, 1.0, 4.0]])
    assert re_rank(rows, scores).tolist() == [[2, 3, 5, 7, -1]]


def test_re_rank_reads_no_score_of_a_missing_row():
    assert re_rank(np.array([[-1, 4]]), np.array([[np.nan, 1.0]])).tolist() == [[4, -1]]
    with pytest.raises(ValueError, match="a score is NaN"):
        re_rank(np.array([[3, 4]]), np.array([[np.nan, 1.0]]))


def test_exact_top_k_by_hand():
    vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], np.float32)
    scores, rows = exact_top_k(np.array([[0.0, 1.0]], np.float32), vectors, 2)
    assert rows.tolist() == [[1, 2]]
    np.testing.assert_allclose(scores, [[1.0, 0.8]], rtol=1e-6)


def test_ties_go_by_row_even_where_the_list_is_cut():
    vectors = np.array([[0.0, 1.0]] + [[1.0, 0.0]] * 5, np.float32)
    rows = exact_top_k(np.array([[1.0, 0.0]], np.float32), vectors, 3)[1]
    assert rows.tolist() == [[1, 2, 3]]


def test_a_list_longer_than_the_corpus_is_filled_up():
    scores, rows = exact_top_k(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32), 3)
    assert rows.tolist() == [[0, -1, -1]]
    assert scores.tolist() == [[2.0, LOWEST, LOWEST]]


def test_agrees_with_the_oracle():
    vectors, queries = unit_vectors(50, 6, 0), unit_vectors(9, 6, 1)
    scores, rows = exact_top_k(queries, vectors, 7)
    ids = [str(row) for row in range(50)]
    for query, returned_scores, returned in zip(queries, scores, rows, strict=True):
        expected_ids, expected_scores = search(query, vectors, ids, [], 7)
        assert [str(row) for row in returned] == expected_ids
        np.testing.assert_allclose(returned_scores, expected_scores, atol=1e-6)


def test_overlap_by_hand():
    exact = np.array([[0, 1, 2, 3], [0, 1, -1, -1]])
    exact_scores = np.array([[4.0, 3.0, 2.0, 1.0], [2.0, 1.0, LOWEST_SCORE, LOWEST_SCORE]])
    returned = np.array([[3, 2, 9, 8], [0, 5, -1, -1]])
    scores = np.array([[1.0, 2.0, 0.5, 0.4], [2.0, 0.5, LOWEST_SCORE, LOWEST_SCORE]])
    assert overlaps(returned, scores, exact, exact_scores).tolist() == [2 / 4, 1 / 2]
    assert overlaps(exact, exact_scores, exact, exact_scores).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("last", [0.5, -0.5])
def test_what_ties_with_the_last_rank_is_found(last):
    exact, exact_scores = np.array([[0, 1, 2]]), np.array([[0.9, 0.7, last]])
    for below, found in ((0.0, 3), (0.9 * TIE_TOLERANCE, 3), (1.1 * TIE_TOLERANCE, 2)):
        scores = np.array([[0.9, 0.7, last - below * abs(last)]])
        assert overlaps(np.array([[0, 1, 7]]), scores, exact, exact_scores)[0] == found / 3


def test_a_repeated_or_missing_candidate_is_not_found_twice():
    exact, exact_scores = np.array([[0, 1]]), np.array([[0.9, 0.9]])
    twice = overlaps(np.array([[5, 5]]), np.array([[0.9, 0.9]]), exact, exact_scores)
    missing = overlaps(np.array([[5, -1]]), np.array([[0.9, LOWEST_SCORE]]), exact, exact_scores)
    assert [twice[0], missing[0]] == [0.5, 0.5]


def test_ids_are_compared_like_rows():
    exact = np.array([[b"a", b"b"]], object)
    scores = np.array([[2.0, 1.0]], np.float32)
    returned = np.array([[b"c", b""]], object)
    found = overlaps(returned, np.array([[1.0, LOWEST_SCORE]], np.float32), exact, scores)
    assert found.tolist() == [0.5]


def test_twins_are_right_answers_for_each_other():
    """By id the two halves share nothing."""
    half = unit_vectors(30, 6, 0)
    vectors, queries = np.concatenate([half, half]), unit_vectors(20, 6, 1)
    exact = ExactLists.of(queries, vectors, 7)
    assert (exact.overlaps((exact.rows + 30) % 60) == 1.0).all()
    shifted = exact.overlaps((exact.rows + 1) % 60)
    assert shifted.mean() < 0.5


def test_the_worst_tenth():
    shares = np.array([*[1.0] * 18, 0.4, 0.2, 0.9])
    assert Overlap.of(shares) == (round(float(shares.mean()), 6), (0.2 + 0.4 + 0.9) / 3)
    assert Overlap.of(np.array([0.5, 0.7])) == (0.6, 0.5)
    assert Overlap.of(np.zeros(0)) == (1.0, 1.0)
