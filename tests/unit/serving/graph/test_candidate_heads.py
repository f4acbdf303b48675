import numpy as np
import pytest
import tensorflow as tf

from serving.graph.candidate_heads import CandidateHeads, best_matches, rounded
from tests.reference.inttower import interaction_scores
from tfrs_twotower.metrics import judge, per_query
from tfrs_twotower.ranking import GroundTruth
from tfrs_twotower.ranking.order import top_k_rows

STORAGES = ["float32", "float16", "int8"]


def random_heads(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_hand_worked_row():
    """Two members, of two heads of two and one head of three: 7 numbers a candidate."""
    first = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], np.float32)
    second = np.array([[[9, 10, 11]], [[12, 13, 14]]], np.float32)
    cache = CandidateHeads([first, second], np.array([0.5, -0.5], np.float32))
    heads, constants = cache.of_rows(tf.constant([[1, 0, 1]]))
    np.testing.assert_array_equal(constants, [[-0.5, 0.5, -0.5]])
    np.testing.assert_array_equal(heads[0].vectors[0, :2], [[5, 6, 7, 8], [1, 2, 3, 4]])
    np.testing.assert_array_equal(heads[1].vectors[0, :2], [[12, 13, 14], [9, 10, 11]])
    # Query heads (1, 0) and (0, 1): the largest first entry plus the largest second one.
    scores = best_matches(tf.constant([[[1.0, 0.0], [0.0, 1.0]]]), heads[0])
    np.testing.assert_array_equal(scores, [[7 + 8, 3 + 4, 7 + 8]])
    scores = best_matches(tf.constant([[[1.0, 0.0, -1.0]]]), heads[1])
    np.testing.assert_array_equal(scores, [[12 - 14, 9 - 11, 12 - 14]])


def test_int8_by_hand():
    """The largest entry of each head is 127 steps: (254, -2) -> scale 2, (127, -1)."""
    cache = CandidateHeads(
        [np.array([[[254, -2], [0.5, 1.27]]], np.float32)], np.zeros(1, np.float32), "int8"
    )
    (heads,), _ = cache.of_rows(tf.constant([[0]]))
    np.testing.assert_array_equal(heads.vectors[0, 0], [127, -1, 50, 127])
    np.testing.assert_allclose(heads.scales[0, 0], [2.0, 0.01])


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("num_heads", [1, 3, 20])
@pytest.mark.parametrize("batch", [1, 4])
def test_scores_are_the_oracles_of_what_is_kept(storage, num_heads, batch):
    query, candidates = random_heads(batch, 2, 5), random_heads(30, num_heads, 5, seed=1)
    beside = random_heads(30, 2, 3, seed=2)
    cache = CandidateHeads([beside, candidates], np.zeros(30, np.float32), storage)
    rows = np.random.default_rng(3).integers(0, 30, (batch, 7)).astype(np.int32)
    heads, _ = cache.of_rows(tf.constant(rows))
    every = interaction_scores(query, rounded(candidates, storage))
    expected = np.take_along_axis(every, rows, axis=1)
    np.testing.assert_allclose(best_matches(tf.constant(query), heads[1]), expected, atol=1e-5)


@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e30])
def test_rounding_is_relative_to_each_heads_largest_entry(size):
    heads = size * random_heads(50, 3, 8)
    largest = np.abs(heads).max(axis=2, keepdims=True)
    steps = {"float32": 0.0, "float16": 2**-11, "int8": 0.5 / 127}
    for storage, step in steps.items():
        restored = rounded(heads, storage)
        assert restored.dtype == np.float32
        assert (np.abs(restored - heads) <= 1.001 * step * largest).all()


@pytest.mark.parametrize("storage", STORAGES)
def test_a_head_of_zeros_stays_zero(storage):
    np.testing.assert_array_equal(rounded(np.zeros((2, 1, 4), np.float32), storage), 0.0)


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_smaller_heads_rank_as_well_on_a_planted_world(storage):
    """A query's heads are noisy copies of one of 60 topics', as are those of its candidates."""
    random = np.random.default_rng(0)
    topics = random_heads(60, 4, 16)
    of_candidate, of_query = random.integers(0, 60, 1500), random.integers(0, 60, 150)
    candidates = topics[of_candidate] + 1.2 * random_heads(1500, 4, 16, seed=1)
    queries = topics[of_query] + 1.2 * random_heads(150, 4, 16, seed=2)
    truth = GroundTruth.from_lists([np.flatnonzero(of_candidate == topic) for topic in of_query])

    def ndcg(heads):
        products = np.einsum("qrd,nhd->qnrh", queries, heads, optimize=True)
        scores = products.max(axis=3).sum(axis=2)
        return per_query("ndcg@10", judge(top_k_rows(scores, 10), truth)).mean()

    exact = ndcg(candidates)
    assert 0.3 < exact < 0.95
    assert abs(ndcg(rounded(candidates, storage)) - exact) <= 0.005
