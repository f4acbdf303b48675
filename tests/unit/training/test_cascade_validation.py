from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from tests.fixtures.tiny import tiny_spec
from tests.reference.inttower import interaction_scores
from tests.unit.training.toy import DIM, NUM_CANDIDATES, head_towers
from tfrs_twotower.closed_form.bm25 import build_postings
from tfrs_twotower.data.postings import Lexical
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.ranking import GroundTruth
from tfrs_twotower.ranking.ragged import Ragged
from tfrs_twotower.towers.lexical_member import LexicalMember
from tfrs_twotower.training.cascade_validation import MemberValidator, Pools
from tfrs_twotower.training.combination import Combined, Lists, cross_fitted

CORPUS = {"id": tf.range(NUM_CANDIDATES)}
SIGNALS = np.random.default_rng(0).normal(size=(NUM_CANDIDATES, 2)).astype(np.float32)
POOL = 6


def retrieval_towers():
    """All queries rank the candidates 0, 1, 2 and so on, in this order."""
    towers = head_towers()
    angles = np.arange(NUM_CANDIDATES) * 0.02
    towers.candidate.table.assign(
        np.pad(np.stack([np.cos(angles), np.sin(angles)], axis=1), ((0, 0), (0, DIM - 2)))
    )
    towers.query.table.assign(np.eye(1, DIM).repeat(NUM_CANDIDATES, axis=0))
    return towers


def validation_queries(relevant, seen):
    ids = np.arange(len(relevant), dtype=np.int32)
    return QuerySet(GroundTruth.from_lists(relevant), Ragged.from_lists(seen), {"id": ids})


def pools_of(relevant, seen, num_candidates=POOL):
    return Pools(
        retrieval_towers(),
        CORPUS,
        validation_queries(relevant, seen),
        num_candidates=num_candidates,
        signals=SIGNALS,
    )


# Query 1 has seen all but three candidates; query 2's candidate is not retrieved.
SEEN = [[0], list(range(3, NUM_CANDIDATES)), []]
RELEVANT = [[1, 4], [2], [40]]


def test_pools_hold_the_retrieved_candidates_without_seen_ones():
    pools = pools_of(RELEVANT, SEEN)
    np.testing.assert_array_equal(
        pools.rows, [[1, 2, 3, 4, 5, 6], [0, 1, 2, -1, -1, -1], [0, 1, 2, 3, 4, 5]]
    )
    np.testing.assert_array_equal(pools.present, pools.rows >= 0)
    # Ranks 1 and 4 of two positives; rank 3 of one; no positive in the pool.
    assert pools.retrieval_alone("recall@3") == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert pools.retrieval_alone("mrr@6") == pytest.approx((1 + 1 / 3 + 0) / 3)


def ordered_by(pools, weights, interactions):
    """A combination with given weights, as if other folds had them too."""
    return Combined(weights, pools._features(interactions) @ weights, {})


def test_the_weighted_sum_orders_the_pools_again():
    pools = pools_of(RELEVANT, SEEN)
    position = np.tile(np.arange(POOL, dtype=np.float32), (3, 1))
    retrieval, interaction, first, second = np.eye(4)

    def measured(weights):
        return pools.measure("mrr@6", ordered_by(pools, weights, [position]))

    assert measured(retrieval) == pools.retrieval_alone("mrr@6")
    # The interaction reverses the pools, and padding stays last: ranks 3 and 1.
    assert measured(interaction) == pytest.approx((1 / 3 + 1) / 3)
    for weights, column in ((first, 0), (second, 1)):
        ranked = sorted([1, 2, 3, 4, 5, 6], key=lambda row: -SIGNALS[row, column])
        best = min(ranked.index(1), ranked.index(4)) + 1
        short = sorted([0, 1, 2], key=lambda row: -SIGNALS[row, column])
        expected = (1 / best + 1 / (short.index(2) + 1)) / 3
        assert measured(weights) == pytest.approx(expected)


def test_equal_scores_keep_the_order_of_rows():
    pools = pools_of(RELEVANT, SEEN)
    nothing = ordered_by(pools, np.zeros(4), [np.zeros((3, POOL))])
    # Row 1 is the first of query 0; row 2 is the third of query 1.
    assert pools.measure("mrr@6", nothing) == pytest.approx((1 + 1 / 3) / 3)


def test_pools_of_words_are_those_of_the_first_stage():
    """Word i is in candidate i alone; BM25 has .9 of the weight, so that it comes first."""
    texts = [f"word{row}" for row in range(NUM_CANDIDATES)]
    postings = build_postings(texts, k1=1.2, b=0.75)
    queries = validation_queries(RELEVANT, SEEN)
    queries = replace(queries, texts=["word9", "word1 word30", "nothing"])
    member = LexicalMember(tiny_spec(), postings)
    pools = Pools(
        retrieval_towers(),
        CORPUS,
        queries,
        num_candidates=POOL,
        signals=SIGNALS,
        lexical=member,
        words=Lexical(postings, ("bio",), 0.1),
    )
    np.testing.assert_array_equal(
        pools.rows, [[9, 1, 2, 3, 4, 5], [1, 0, 2, -1, -1, -1], [0, 1, 2, 3, 4, 5]]
    )
    retrieval, log, share = np.moveaxis(pools._features([]), 2, 0)[:3]
    cosines = np.cos(np.array([9, 1, 2, 3, 4, 5]) * 0.02)
    near = 0.1 * (1 + cosines) / 2
    np.testing.assert_allclose(retrieval[0], near + 0.9 * (pools.rows[0] == 9), rtol=1e-5)
    np.testing.assert_allclose(share[0], pools.rows[0] == 9, rtol=1e-6)
    np.testing.assert_allclose(share[1][:3], [1, 0, 0], rtol=1e-6)
    expected = postings.scores(postings.terms_of(["word9"]))[9]
    np.testing.assert_allclose(log[0], np.log1p(expected) * share[0], rtol=1e-5)
    assert not log[2].any()
    # The weighted sum can be any convex combination of the two normalised scores.
    other = (0.6 / 0.1) * retrieval + (0.4 - 0.6 / 0.1 * 0.9) * share
    np.testing.assert_allclose(other[0], 6 * near + 0.4 * share[0], rtol=1e-5)


EVERYONE = [[row % 5 + 1] for row in range(NUM_CANDIDATES)]


def test_fitting_gives_the_weight_to_the_member_that_knows():
    pools = pools_of(EVERYONE, [[] for _ in EVERYONE])
    knows = (pools.rows == np.array(EVERYONE)).astype(np.float32)
    noise = np.random.default_rng(1).normal(size=pools.rows.shape).astype(np.float32)
    combined = pools.combine([noise, knows], "mrr@1")
    weights = combined.weights
    assert len(weights) == 1 + 2 + 2
    assert combined.facts["order"] == "combination"
    assert weights[2] > 5 * np.abs(weights[[1, 3, 4]]).max()
    assert pools.measure("mrr@1", combined) == 1.0
    assert pools.retrieval_alone("mrr@1") < 0.3


def test_recall_by_length_is_that_of_the_order_that_is_kept():
    pools = pools_of(EVERYONE, [[] for _ in EVERYONE])
    knows = (pools.rows == np.array(EVERYONE)).astype(np.float32)
    assert pools.recall_by_length(pools.combine([knows], "mrr@1")) == [1.0] * POOL
    noise = np.random.default_rng(1).normal(size=pools.rows.shape).astype(np.float32)
    combined = pools.combine([noise], "mrr@1")
    assert combined.facts["order"] == "retrieval"
    expected = [pools.retrieval_alone(f"recall@{k}") for k in range(1, POOL + 1)]
    np.testing.assert_allclose(pools.recall_by_length(combined), expected, atol=1e-6)
    assert pools.measure("mrr@1", combined) == pools.retrieval_alone("mrr@1")


def test_a_metric_of_whole_pools_cannot_decide_and_does_not():
    """recall@6 of pools of six is the same in any order; their nDCG is not."""
    pools = pools_of(EVERYONE, [[] for _ in EVERYONE])
    knows = (pools.rows == np.array(EVERYONE)).astype(np.float32)
    assert pools.combine([knows], "recall@6").facts["order"] == "combination"


def test_a_member_is_scored_with_its_current_towers():
    pools = pools_of(RELEVANT, SEEN)
    member = head_towers(seed=4)
    validator = MemberValidator(member, pools, "mrr@6")
    heads = interaction_scores(member.query.heads.numpy()[:3], member.candidate.heads.numpy())
    expected = np.take_along_axis(heads, pools.valid_rows, axis=1)
    np.testing.assert_allclose(validator.interaction(), expected, rtol=1e-4, atol=1e-5)
    # The scores follow the current weights, not those at the time the validator was made.
    member.candidate.heads.assign(2.0 * member.candidate.heads)
    np.testing.assert_allclose(validator.interaction(), 2 * expected, rtol=1e-4, atol=1e-5)
    (name, value), *others = validator.measure().items()
    assert (name, others) == ("mrr@6", [])
    # Queries 0 and 1 have a relevant candidate and another: each is scored by the other's weights.
    lists = Lists.of(pools._features([2 * expected]), pools._relevant, pools.present)
    scores, _ = cross_fitted(lists, 1e-2, np.array([0, 1, 0]))
    assert value == pytest.approx(pools.measure("mrr@6", Combined(None, scores, {})))


def test_a_pool_may_be_larger_than_the_corpus():
    pools = pools_of([[1]], [[]], num_candidates=NUM_CANDIDATES + 3)
    assert pools.rows.shape == (1, NUM_CANDIDATES + 3)
    assert pools.present.sum() == NUM_CANDIDATES
    combined = pools.combine([np.zeros((1, NUM_CANDIDATES + 3))], "mrr@6")
    assert combined.weights.tolist() == [1, 0, 0, 0], "one query has no other folds"
    validator = pools.out_of_fold("mrr@6", [np.zeros((1, NUM_CANDIDATES + 3))])
    assert validator == pools.retrieval_alone("mrr@6")
