import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.searcher_contract import SearcherContract, unit_vectors
from tfrs_twotower.index.exact_search import ExactSearch, to_int8
from tfrs_twotower.ranking.order import exact_top_k


def test_by_hand():
    rounded = to_int8(np.array([[1.27, -0.635, 0.0], [0.0, 0.0, 0.0]], np.float32))
    assert rounded.values.tolist() == [[127, -64, 0], [0, 0, 0]]
    np.testing.assert_allclose(rounded.scales, [0.01, 1.0], rtol=1e-6)


def test_a_component_is_off_by_half_a_step_at_most():
    vectors = unit_vectors(200, 16, 0)
    rounded = to_int8(vectors)
    error = np.abs(rounded.values * rounded.scales[:, None] - vectors)
    assert (error <= 0.5001 * rounded.scales[:, None]).all()


def test_search_ranks_the_rounded_vectors():
    vectors, queries = unit_vectors(90, 8, 1), unit_vectors(6, 8, 2)
    rounded = to_int8(vectors)
    restored = rounded.values * rounded.scales[:, None]
    for chunk_rows in (16, 100):
        search = ExactSearch(rounded, chunk_rows=chunk_rows)
        assert not search.is_exact
        scores, rows = search.search(tf.constant(queries), 5)
        expected = exact_top_k(queries, restored.astype(np.float32), 5)
        np.testing.assert_array_equal(rows, expected[1])
        np.testing.assert_allclose(scores, expected[0], atol=1e-6)


class TestExactSearch(SearcherContract):
    def make(self, vectors):
        return ExactSearch(vectors)


class TestExactSearchInChunks(SearcherContract):
    def make(self, vectors):
        return ExactSearch(vectors, chunk_rows=7)


@pytest.mark.parametrize("chunk_rows", [1, 3, 50, 64])
def test_chunks_change_nothing(chunk_rows):
    vectors, queries = unit_vectors(50, 4, 0), tf.constant(unit_vectors(4, 4, 1))
    excluded = tf.constant(np.random.default_rng(2).integers(-1, 50, (4, 9)), tf.int32)
    whole = ExactSearch(vectors).search(queries, 12, excluded)
    parts = ExactSearch(vectors, chunk_rows=chunk_rows).search(queries, 12, excluded)
    np.testing.assert_array_equal(whole[1], parts[1])
    np.testing.assert_allclose(whole[0], parts[0], atol=1e-6)
