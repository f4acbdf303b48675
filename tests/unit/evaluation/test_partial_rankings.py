import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.evaluation.baselines.collaborative import NeighbourScorer, PopularityScorer
from tfrs_twotower.evaluation.corpus_ranking import EmbeddingScorer, rank_corpus, ranked_chunks
from tfrs_twotower.ranking import GroundTruth, order
from tfrs_twotower.ranking.ragged import Ragged

NUM_QUERIES, NUM_CANDIDATES = 90, 150


def queries_of(seen):
    return QuerySet(GroundTruth.from_lists([[0]] * len(seen)), Ragged.from_lists(seen))


def random_queries(random, most_seen=9):
    return queries_of(
        [
            random.choice(NUM_CANDIDATES, random.integers(most_seen), replace=False)
            for _ in range(NUM_QUERIES)
        ]
    )


class Sparse:
    """Given scores."""

    def __init__(self, scores):
        self.scores = sparse.csr_matrix(np.asarray(scores, np.float32))

    def sparse(self, queries):
        return self.scores[queries]


def test_sparse_scores_by_hand():
    """Scores 5 and 2 twice; 0 fills by row. Seen: row 4 of the first query. Row 1 is not eligible.

    q0: 6 (5), 2 and 7 tie (2), then zeros 0, 3     q1: nothing is listed: 0, 2, 3, 5 and 6
    """
    scores = np.zeros((2, 8))
    scores[0, [6, 2, 7, 4, 1]] = [5, 2, 2, 9, 9]
    eligible = np.arange(8) != 1
    ranked = rank_corpus(Sparse(scores), queries_of([[4], [4]]), eligible, 5)
    assert ranked.tolist() == [[6, 2, 7, 0, 3], [0, 2, 3, 5, 6]]
    assert rank_corpus(Sparse(scores), queries_of([[4], [4]]), eligible, 7)[0].tolist() == [
        6, 2, 7, 0, 3, 5, -1,
    ]  # fmt: skip


@pytest.mark.parametrize("k", [1, 4, 40, 200])
def test_sparse_scores_give_the_lists_of_the_whole_matrix(k):
    """Ties among scores and at the cut-off, zeros, seen and not eligible candidates."""
    random = np.random.default_rng(k)
    scores = random.integers(0, 4, (NUM_QUERIES, NUM_CANDIDATES)) * (
        random.random((NUM_QUERIES, NUM_CANDIDATES)) < random.random((NUM_QUERIES, 1))
    )
    queries, eligible = random_queries(random), random.random(NUM_CANDIDATES) < 0.9
    whole = rank_corpus(lambda own: scores[own].astype(np.float32), queries, eligible, k)
    np.testing.assert_array_equal(rank_corpus(Sparse(scores), queries, eligible, k), whole)


def test_a_sparse_score_below_zero_is_refused():
    with pytest.raises(ValueError, match="NaN or below 0"):
        rank_corpus(Sparse([[0, -1]]), queries_of([[]]), np.ones(2, bool), 1)


def test_neighbours_score_sparsely_what_they_score_densely():
    """Queries without a profile get popularity from either."""
    random = np.random.default_rng(0)
    positions = sparse.random(NUM_QUERIES, NUM_CANDIDATES, 0.02, "csr", np.float32, 1)
    neighbours = sparse.random(NUM_CANDIDATES, NUM_CANDIDATES, 0.05, "csr", np.float32, 2)
    popular = PopularityScorer(random.integers(0, 5, NUM_CANDIDATES))
    scorer = NeighbourScorer(positions, neighbours, popular)
    without = np.flatnonzero(np.diff(positions.indptr) == 0)
    assert 0 < len(without) < NUM_QUERIES
    asked = random.permutation(NUM_QUERIES)
    expected = (positions > 0).astype(np.float32).toarray() @ neighbours.toarray()
    expected[without] = popular.scores
    np.testing.assert_allclose(scorer(asked), expected[asked], rtol=1e-6)
    queries, eligible = random_queries(random), np.ones(NUM_CANDIDATES, bool)
    dense = rank_corpus(lambda own: scorer(own), queries, eligible, 20)
    np.testing.assert_array_equal(rank_corpus(scorer, queries, eligible, 20), dense)


@pytest.mark.parametrize("k", [1, 7, 60, 200])
def test_blocks_give_the_lists_of_the_whole_matrix(monkeypatch, k):
    """Whole numbers, so that many scores tie, across blocks too."""
    random = np.random.default_rng(k)
    own, corpus = (
        random.integers(-2, 3, (count, 3)).astype(np.float32)
        for count in (NUM_QUERIES, NUM_CANDIDATES)
    )
    queries, eligible = random_queries(random), random.random(NUM_CANDIDATES) < 0.8
    scorer = EmbeddingScorer(own, corpus)
    whole = list(ranked_chunks(scorer, queries, eligible, k))
    monkeypatch.setattr(order, "MOST_AT_ONCE", 10)
    monkeypatch.setattr(order, "BLOCK", 32)
    parts = list(ranked_chunks(scorer, queries, eligible, k))
    assert len(parts) == 2
    for place in range(3):
        np.testing.assert_array_equal(
            np.concatenate([part[place] for part in parts]),
            np.concatenate([part[place] for part in whole]),
        )


def test_a_million_candidates_take_the_memory_of_a_few_blocks():
    """The whole matrix of scores would be 256 MB."""
    random = np.random.default_rng(0)
    corpus = random.normal(size=(1_000_000, 4)).astype(np.float32)
    queries = queries_of([[3]] * 64)
    eligible = np.ones(len(corpus), bool)
    best = int((corpus @ np.ones(4, np.float32)).argmax())
    scorer = EmbeddingScorer(np.ones((64, 4), np.float32), corpus)
    tracemalloc.start()
    ranked = rank_corpus(scorer, queries, eligible, 10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (ranked[:, 0] == best).all()
    assert peak < 80e6
