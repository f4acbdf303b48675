import numpy as np
import pytest
import tensorflow as tf

from tests.contracts.searcher_contract import SearcherContract, unit_vectors
from tfrs_twotower.index.exact_search import ExactSearch


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
