import numpy as np

from tests.contracts.searcher_contract import unit_vectors
from tests.reference.search import LOWEST, search
from tfrs_twotower.ranking.order import exact_top_k, mean_overlap


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
    returned = np.array([[3, 2, 9, 8], [0, 5, -1, -1]])
    assert mean_overlap(returned, exact) == (2 / 4 + 1 / 2) / 2
    assert mean_overlap(exact, exact) == 1.0
