"""The laws that every searcher obeys. The test of a searcher inherits `SearcherContract`."""

import numpy as np
import pytest
import tensorflow as tf

from tests.reference.search import LOWEST, search
from tfrs_twotower.index.answers import Search


def unit_vectors(num_rows: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(num_rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class SearcherContract:
    """`make` returns a searcher whose results are exact on small corpora."""

    def make(self, vectors: np.ndarray) -> Search:
        raise NotImplementedError

    @pytest.mark.parametrize("num_candidates", [1, 2, 7, 16, 120])
    def test_finds_the_best_in_order(self, num_candidates):
        vectors, queries = unit_vectors(num_candidates, 8, 0), unit_vectors(5, 8, 1)
        scores, rows = self.make(vectors).search(tf.constant(queries), 10)
        ids = [str(row) for row in range(num_candidates)]
        for query, actual_scores, actual_rows in zip(queries, scores, rows, strict=True):
            expected_ids, expected_scores = search(query, vectors, ids, [], 10)
            assert [str(r) if r >= 0 else "" for r in actual_rows.numpy()] == expected_ids
            np.testing.assert_allclose(actual_scores, expected_scores, atol=1e-6)

    def test_places_beyond_the_corpus_are_missing(self):
        scores, rows = self.make(unit_vectors(2, 8, 0)).search(
            tf.constant(unit_vectors(1, 8, 1)), 4
        )
        assert rows.numpy()[0, 2:].tolist() == [-1, -1]
        assert scores.numpy()[0, 2:].tolist() == [LOWEST, LOWEST]

    def test_equal_scores_go_by_row(self):
        vectors = np.repeat(unit_vectors(1, 8, 0), 40, axis=0)
        _, rows = self.make(vectors).search(tf.constant(vectors[:1]), 40)
        assert rows.numpy()[0].tolist() == list(range(40))

    def test_excluded_rows_never_come_back_and_do_not_shorten_the_list(self):
        vectors, queries = unit_vectors(60, 8, 2), unit_vectors(3, 8, 3)
        searcher = self.make(vectors)
        best = searcher.search(tf.constant(queries), 30)[1].numpy()
        excluded = np.concatenate([best[:, :25], best[:, :25], np.full((3, 2), -1)], axis=1)
        rows = searcher.search(tf.constant(queries), 20, tf.constant(excluded, tf.int32))[1]
        for actual, excluded_rows, order in zip(rows.numpy(), excluded, best, strict=True):
            assert not set(actual) & set(excluded_rows)
            assert actual[:5].tolist() == order[25:30].tolist()
            assert len(set(actual.tolist())) == 20

    def test_excluding_everything_gives_an_empty_list(self):
        vectors = unit_vectors(20, 8, 4)
        all_rows = tf.range(20)[None, :]
        scores, rows = self.make(vectors).search(tf.constant(vectors[:1]), 5, all_rows)
        assert rows.numpy().tolist() == [[-1] * 5]
        assert scores.numpy().tolist() == [[LOWEST] * 5]

    def test_widths_of_exclusions_may_differ_between_calls_of_one_graph(self):
        vectors = unit_vectors(20, 8, 5)
        searcher = self.make(vectors)
        graph = tf.function(
            lambda embeddings, excluded: searcher.search(embeddings, 3, excluded)[1],
            input_signature=[
                tf.TensorSpec([None, 8], tf.float32),
                tf.TensorSpec([None, None], tf.int32),
            ],
            autograph=False,
        )
        assert graph(vectors[:2], np.zeros((2, 0), np.int32)).numpy()[0, 0] == 0
        assert graph(vectors[:1], np.array([[0, -1, 3]], np.int32)).numpy()[0, 0] not in (0, 3)

    def test_a_nan_query_finds_nothing_rather_than_nan(self):
        queries = np.full((1, 8), np.nan, np.float32)
        scores, rows = self.make(unit_vectors(20, 8, 6)).search(tf.constant(queries), 3)
        assert rows.numpy().tolist() == [[-1, -1, -1]]
        assert scores.numpy().tolist() == [[LOWEST] * 3]
