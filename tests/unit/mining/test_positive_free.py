"""Mined lists of towers that look vectors up."""

import numpy as np
import pytest
import tensorflow as tf

from tests.reference.mining import mined_list
from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.mining.positive_free import PositiveFreeRetrieval, PositiveFreeWords
from tfrs_twotower.ranking.ragged import Ragged
from tfrs_twotower.towers.tower import Tower, TowerOutput, Towers

NUM_QUERIES, NUM_CANDIDATES, DIM = 30, 25, 8
LOWEST = np.finfo(np.float32).min


class VectorTower(Tower):
    """A tower that maps each token to its vector."""

    def __init__(self, vectors):
        super().__init__(name="vectors")
        self.table = tf.Variable(vectors)

    def encode(self, tokens, training=False):
        del training
        return TowerOutput(tf.gather(self.table, tokens["id"]))


def unit(random, size):
    vectors = random.normal(size=(size, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def world():
    random = np.random.default_rng(5)
    known = [
        np.sort(random.choice(NUM_CANDIDATES, random.integers(1, 7), replace=False))
        for _ in range(NUM_QUERIES)
    ]
    return unit(random, NUM_QUERIES), unit(random, NUM_CANDIDATES), known


def retrieve(queries, candidates, known, depth, rankable=None, query_ids=None):
    towers = Towers(VectorTower(queries), VectorTower(candidates))
    if rankable is None:
        rankable = np.ones(len(candidates), bool)
    query_ids = np.arange(len(queries)) if query_ids is None else np.asarray(query_ids)
    positives = np.array([rows[0] for rows in known])
    retrieval = PositiveFreeRetrieval(towers, candidates, rankable, depth)
    return retrieval.lists(
        {"id": query_ids.astype(np.int32)},
        positives[query_ids],
        Ragged.from_lists(known).take(query_ids),
    )


def test_lists_hold_distinct_rows_without_known_positives(world):
    queries, candidates, known = world
    rows, _ = retrieve(queries, candidates, known, 15)
    for listed, positives in zip(rows, known, strict=True):
        assert not set(listed) & set(positives)
        assert len(set(listed)) == 15
        assert listed.min() >= 0


def test_lists_equal_the_best_products_without_known_positives(world):
    queries, candidates, known = world
    rankable = np.arange(NUM_CANDIDATES) % 4 > 0
    products = queries @ candidates.T
    rows, scores = retrieve(queries, candidates, known, 10, rankable)
    for query, listed in enumerate(rows):
        excluded = np.flatnonzero(~rankable)
        expected = mined_list(products[query], known[query], excluded, 10)
        assert listed.tolist() == expected
        np.testing.assert_allclose(
            scores[query], products[query, [known[query][0], *expected]], rtol=1e-5, atol=1e-6
        )


def test_equal_scores_are_in_the_order_of_rows(world):
    queries, candidates, known = world
    candidates = np.repeat(candidates[:5], 5, axis=0)
    rows, scores = retrieve(queries, candidates, known, 15)
    for listed, listed_scores in zip(rows, scores[:, 1:], strict=True):
        pairs = list(zip(-listed_scores, listed, strict=True))
        assert pairs == sorted(pairs)


def test_lists_of_a_small_corpus_are_padded(world):
    queries, candidates, known = world
    rankable = np.zeros(NUM_CANDIDATES, bool)
    rankable[:8] = True
    rows, scores = retrieve(queries, candidates, known, 12, rankable)
    for listed, listed_scores, positives in zip(rows, scores[:, 1:], known, strict=True):
        left = 8 - sum(row < 8 for row in positives)
        assert set(listed[:left]) == set(range(8)) - set(positives)
        assert listed[left:].tolist() == [-1] * (12 - left)
        assert not listed_scores[left:].any()


def test_a_query_whose_positives_are_the_whole_corpus_gets_an_empty_list(world):
    queries, candidates, _ = world
    rows, scores = retrieve(queries, candidates, [np.arange(NUM_CANDIDATES)] * NUM_QUERIES, 3)
    assert (rows == -1).all()
    assert not scores[:, 1:].any()
    np.testing.assert_allclose(scores[:, 0], queries @ candidates[0], rtol=1e-5, atol=1e-6)


def test_a_list_does_not_depend_on_the_other_queries_of_the_batch(world):
    queries, candidates, known = world
    rows, _ = retrieve(queries, candidates, known, 6)
    alone, _ = retrieve(queries, candidates, known, 6, query_ids=[17, 3])
    np.testing.assert_array_equal(alone, rows[[17, 3]])


def test_lists_of_words_leave_known_positives_out(world):
    """Half of the score is BM25, so that a candidate of the query's word comes first."""
    queries, candidates, known = world
    towers = Towers(VectorTower(queries), VectorTower(candidates))
    postings = build_postings([f"word{row % 5}" for row in range(NUM_CANDIDATES)], k1=1.2, b=0.75)
    words = Lexical(postings, ("text",), 0.5)
    texts = [f"word{query % 5}" for query in range(NUM_QUERIES)]
    rankable = np.arange(NUM_CANDIDATES) != 3
    retrieval = PositiveFreeWords(words, towers, candidates, rankable, 12, texts)
    part = slice(10, 25)
    positives = np.array([rows[0] for rows in known])[part]
    rows, scores = retrieval.lists(
        {"id": np.arange(10, 25, dtype=np.int32)},
        positives,
        Ragged.from_lists(known).take(np.arange(10, 25)),
        part,
    )
    for listed, found, query, positive in zip(rows, scores, range(10, 25), positives, strict=True):
        cosines = candidates @ queries[query]
        fused = 0.5 * (1 + cosines) / (1 + cosines.max())
        fused += 0.5 * (np.arange(NUM_CANDIDATES) % 5 == query % 5)
        assert listed.tolist() == mined_list(fused, {*known[query]}, {3}, 12)
        np.testing.assert_allclose(found, fused[[positive, *listed]], rtol=1e-5)
