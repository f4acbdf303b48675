import numpy as np
import pytest
import tensorflow as tf

from tests.reference.inttower import interaction_scores
from tests.unit.training.toy import DIM, NUM_CANDIDATES, head_towers
from tfrs_twotower.metrics import GroundTruth
from tfrs_twotower.ranking.ragged import Ragged
from tfrs_twotower.training.cascade_validation import MemberValidator, Pools
from tfrs_twotower.training.validation import ValidationQueries

CORPUS = {"id": tf.range(NUM_CANDIDATES)}
SIGNALS = np.random.default_rng(0).normal(size=(NUM_CANDIDATES, 2)).astype(np.float32)
POOL = 6


def retrieval_towers():
    """Query 0 likes candidates 1, 2, 3 and so on, in this order; queries 1 and 2 do as well."""
    towers = head_towers()
    angles = np.arange(NUM_CANDIDATES) * 0.02
    towers.candidate.table.assign(
        np.pad(np.stack([np.cos(angles), np.sin(angles)], axis=1), ((0, 0), (0, DIM - 2)))
    )
    towers.query.table.assign(np.eye(1, DIM).repeat(NUM_CANDIDATES, axis=0))
    return towers


def asked(relevant, seen):
    ids = np.arange(len(relevant), dtype=np.int32)
    return ValidationQueries({"id": ids}, GroundTruth.from_lists(relevant), Ragged.from_lists(seen))


def pools_of(relevant, seen, num_candidates=POOL):
    return Pools(
        retrieval_towers(),
        CORPUS,
        asked(relevant, seen),
        num_candidates=num_candidates,
        signals=SIGNALS,
    )


# Query 1 has seen all but three candidates; query 2's candidate is not retrieved.
SEEN = [[0], list(range(3, NUM_CANDIDATES)), []]
RELEVANT = [[1, 4], [2], [40]]


def test_pools_are_what_retrieval_returns_without_what_was_seen():
    pools = pools_of(RELEVANT, SEEN)
    np.testing.assert_array_equal(
        pools.rows, [[1, 2, 3, 4, 5, 6], [0, 1, 2, -1, -1, -1], [0, 1, 2, 3, 4, 5]]
    )
    np.testing.assert_array_equal(pools.present, pools.rows >= 0)
    # Ranks 1 and 4 of two; rank 3 of one; not found.
    assert pools.retrieval_alone("recall@3") == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert pools.retrieval_alone("mrr@6") == pytest.approx((1 + 1 / 3 + 0) / 3)


def test_the_weighted_sum_orders_the_pools_again():
    pools = pools_of(RELEVANT, SEEN)
    place = np.tile(np.arange(POOL, dtype=np.float32), (3, 1))
    retrieval, interaction, first, second = np.eye(4)
    assert pools.measure("mrr@6", retrieval, [place]) == pools.retrieval_alone("mrr@6")
    # The interaction turns the pools over, and padding stays behind: ranks 3 and 1.
    assert pools.measure("mrr@6", interaction, [place]) == pytest.approx((1 / 3 + 1) / 3)
    for weights, column in ((first, 0), (second, 1)):
        ranked = sorted([1, 2, 3, 4, 5, 6], key=lambda row: -SIGNALS[row, column])
        best = min(ranked.index(1), ranked.index(4)) + 1
        short = sorted([0, 1, 2], key=lambda row: -SIGNALS[row, column])
        expected = (1 / best + 1 / (short.index(2) + 1)) / 3
        assert pools.measure("mrr@6", weights, [place]) == pytest.approx(expected)


def test_equal_scores_keep_the_order_of_rows():
    pools = pools_of(RELEVANT, SEEN)
    nothing = np.zeros((3, POOL))
    # Rows 1 and 2 of query 0 stand first; row 2 of query 1 is third.
    assert pools.measure("mrr@6", np.zeros(4), [nothing]) == pytest.approx((1 + 1 / 3) / 3)


def test_fitting_finds_the_member_that_knows():
    everyone = [[row % 5 + 1] for row in range(NUM_CANDIDATES)]
    pools = pools_of(everyone, [[] for _ in everyone])
    knows = (pools.rows == np.array(everyone)).astype(np.float32)
    noise = np.random.default_rng(1).normal(size=pools.rows.shape).astype(np.float32)
    weights = pools.fit([noise, knows])
    assert len(weights) == 1 + 2 + 2
    assert weights[2] > 5 * np.abs(weights[[1, 3, 4]]).max()
    assert pools.measure("mrr@1", weights, [noise, knows]) == 1.0
    assert pools.retrieval_alone("mrr@1") < 0.3


def test_a_members_pair_scores_are_those_of_its_towers():
    pools = pools_of(RELEVANT, SEEN)
    member = head_towers(seed=4)
    validator = MemberValidator(member, pools, "mrr@6")
    heads = interaction_scores(member.query.heads.numpy()[:3], member.candidate.heads.numpy())
    expected = np.take_along_axis(heads, pools.places, axis=1)
    np.testing.assert_allclose(validator.interaction(), expected, rtol=1e-4, atol=1e-5)
    # As they are now, not as they were when the validator was made.
    member.candidate.heads.assign(2.0 * member.candidate.heads)
    np.testing.assert_allclose(validator.interaction(), 2 * expected, rtol=1e-4, atol=1e-5)
    (name, value), *others = validator.measure().items()
    weights = pools.fit([2 * expected])
    assert (name, others) == ("mrr@6", [])
    assert value == pytest.approx(pools.measure("mrr@6", weights, [2 * expected]))


def test_a_pool_may_be_larger_than_the_corpus():
    pools = pools_of([[1]], [[]], num_candidates=NUM_CANDIDATES + 3)
    assert pools.rows.shape == (1, NUM_CANDIDATES + 3)
    assert pools.present.sum() == NUM_CANDIDATES
    assert np.isfinite(pools.fit([np.zeros((1, NUM_CANDIDATES + 3))])).all()
