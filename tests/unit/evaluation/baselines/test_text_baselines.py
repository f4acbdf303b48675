"""Laws of the convex combination of towers and BM25 (Bruch et al. 2023)."""

import numpy as np
import pytest

from tests.reference import lexical as reference
from tfrs_twotower.evaluation.baselines.text_baselines import HybridScorer
from tfrs_twotower.evaluation.text_retrieval import normalised

NUM_QUERIES, NUM_CANDIDATES = 8, 30
ALL = np.arange(NUM_QUERIES)


def runs(seed):
    """Cosines, and BM25 scores of which many are 0; the last query shares no word."""
    random = np.random.default_rng(seed)
    cosines = random.uniform(-1, 1, (NUM_QUERIES, NUM_CANDIDATES))
    words = random.exponential(4.0, cosines.shape) * (random.random(cosines.shape) < 0.4)
    words[-1] = 0.0
    return cosines, words


class Fixed:
    """A scorer of given scores, which may say how low they go."""

    def __init__(self, scores, lowest=None):
        self.scores = scores
        if lowest is not None:
            self.lowest = lambda queries: np.full((len(queries), 1), lowest)

    def __call__(self, queries):
        return self.scores[queries]


def fused(cosines, words, weight, lowest=None):
    return HybridScorer(Fixed(cosines, lowest), Fixed(words), weight)(ALL)


def order(scores):
    return np.argsort(-scores, axis=1, kind="stable")


def test_by_hand():
    """Cosines 0 and 1, BM25 3 and 1: .5 * 1/2 + .5 * 1 = .75 and .5 * 1 + .5 / 3 = 2/3."""
    cosines = np.array([[0.0, 1.0]] * NUM_QUERIES)
    words = np.array([[3.0, 1.0]] * NUM_QUERIES)
    np.testing.assert_allclose(fused(cosines, words, 0.5)[0], [0.75, 2 / 3], rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_it_is_the_combination_of_the_definition(seed, weight):
    cosines, words = runs(seed)
    scores = fused(cosines, words, weight)
    for query in ALL:
        expected = reference.hybrid(
            cosines[query].tolist(), words[query].tolist(), weight, NUM_CANDIDATES
        )
        np.testing.assert_allclose(
            [scores[query, row] for row, _ in expected], [score for _, score in expected], atol=1e-5
        )


def test_weights_of_1_and_0_rank_as_the_runs_themselves():
    cosines, words = runs(4)
    np.testing.assert_array_equal(order(fused(cosines, words, 1.0)), order(cosines))
    np.testing.assert_array_equal(order(fused(cosines, words, 0.0)), order(words))


def test_neither_scale_of_a_run_matters():
    """Nor where the towers' scores begin, as long as they say it."""
    cosines, words = runs(5)
    expected = fused(cosines, words, 0.4)
    np.testing.assert_allclose(fused(cosines, 7.0 * words, 0.4), expected, atol=1e-5)
    moved = 3.0 * cosines + 11.0
    np.testing.assert_allclose(fused(moved, words, 0.4, lowest=8.0), expected, atol=1e-5)
    # A scorer that says nothing has cosines: then the same shift does change the sums.
    assert np.abs(fused(moved, words, 0.4) - expected).max() > 0.01


def test_a_run_that_is_constant_adds_nothing():
    zeros = np.zeros((2, 3))
    np.testing.assert_array_equal(normalised(zeros, 0.0), zeros)
    np.testing.assert_array_equal(normalised(zeros - 1.0, -1.0), zeros)
