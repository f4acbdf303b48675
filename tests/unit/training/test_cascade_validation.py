import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import minimize

from tests.contracts.gradients import finite_differences
from tests.reference.inttower import interaction_scores
from tests.unit.training.toy import DIM, NUM_CANDIDATES, head_towers
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.ranking import GroundTruth
from tfrs_twotower.ranking.ragged import Ragged
from tfrs_twotower.training import cascade_validation as cascade_validation
from tfrs_twotower.training.cascade_validation import MemberValidator, Pools, fit_combination

PENALTY = 1e-4


def loss_of(weights, features, relevant, present):
    """The mean over queries of mean_j log(1 + sum_i exp(s_i - s_j)), a loop."""
    losses = []
    for x, good, mask in zip(features, relevant, present, strict=True):
        bad = [row for row, g, t in zip(x, good, mask, strict=True) if t and not g]
        own = [row for row, g, t in zip(x, good, mask, strict=True) if t and g]
        if own and bad:
            scores = [np.log1p(sum(np.exp(weights @ (b - o)) for b in bad)) for o in own]
            losses.append(np.mean(scores))
    return float(np.mean(losses))


def planted_pools(seed, weights=(2.0, 1.0, 0.5, 0.0), queries=400, pool=20):
    """Relevance drawn from a softmax of the weighted features; one pool in four is short."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(queries, pool, len(weights)))
    present = np.ones((queries, pool), bool)
    present[::4, pool // 2 :] = False
    scores = features @ np.array(weights) + random.gumbel(size=(queries, pool))
    scores[~present] = -np.inf
    relevant = np.zeros((queries, pool), bool)
    relevant[np.arange(queries), scores.argmax(axis=1)] = True
    second = random.random(queries) < 0.3
    relevant[second, np.argsort(-scores, axis=1)[second, 1]] = True
    return features, relevant, present


def test_a_single_feature_by_hand():
    # One query; the positive has 1, the other 0. In a pool of two the standardised feature is +-1,
    # so v = 2 w' is the difference of scores: log(1 + e^-v) + 1e-4 (v / 2)^2 is smallest where
    # 1 / (1 + e^v) = 1e-4 v / 2.
    weights = fit_combination(
        np.array([[[1.0], [0.0]]]), np.array([[True, False]]), np.ones((1, 2), bool)
    )
    low, high = 0.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        above = 1 / (1 + np.exp(middle)) > PENALTY * middle / 2
        low, high = (middle, high) if above else (low, middle)
    assert weights == pytest.approx([low], rel=1e-3)


def test_contradicting_queries_cancel():
    features = np.array([[[1.0], [0.0]], [[0.0], [1.0]]])
    relevant = np.array([[True, False], [True, False]])
    assert fit_combination(features, relevant, np.ones((2, 2), bool)) == pytest.approx(
        [0.0], abs=1e-5
    )


def spread_of(features, present):
    """Deviation of each feature inside the pools."""
    deviations = [x[mask] - x[mask].mean(axis=0) for x, mask in zip(features, present, strict=True)]
    return np.sqrt((np.concatenate(deviations) ** 2).mean(axis=0))


@pytest.mark.parametrize("seed", range(2))
def test_the_weights_minimise_the_loss_with_the_penalty(seed):
    features, relevant, present = planted_pools(seed, queries=40, pool=8)
    weights = fit_combination(features, relevant, present)
    spread = spread_of(features, present)

    def objective(w):
        return loss_of(w, features, relevant, present) + PENALTY * np.sum((w * spread) ** 2)

    slope = finite_differences(lambda w: objective(w.numpy()), weights)[0]
    np.testing.assert_allclose(slope, 0.0, atol=1e-4)
    minimum = minimize(objective, np.zeros(4), method="Nelder-Mead", options={"maxfev": 1200})
    assert objective(weights) <= minimum.fun + 1e-6


@pytest.mark.parametrize("seed", range(2))
def test_the_gradient_passed_to_the_optimiser_is_right(seed, monkeypatch):
    recorded = {}

    def record(fun, start, **_):
        recorded["fun"] = fun
        return minimize(fun, start, jac=True, method="L-BFGS-B")

    monkeypatch.setattr(cascade_validation, "minimize", record)
    features, relevant, present = planted_pools(seed, queries=30, pool=6)
    fit_combination(features, relevant, present)
    at = np.array([0.5, -1.0, 2.0, 0.1])
    spread = spread_of(features, present)
    value, slope = recorded["fun"](at)
    expected = loss_of(at / spread, features, relevant, present) + PENALTY * at @ at
    assert value == pytest.approx(expected, rel=1e-9)
    finite = finite_differences(lambda w: recorded["fun"](w.numpy())[0], at)[0]
    np.testing.assert_allclose(slope, finite, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_planted_weights_are_recovered_in_order(seed):
    weights = fit_combination(*planted_pools(seed))
    assert weights[0] > weights[1] > weights[2] > abs(weights[3])
    np.testing.assert_allclose(weights, [2.0, 1.0, 0.5, 0.0], atol=0.35)


def test_adding_a_constant_to_a_whole_pool_changes_nothing():
    features, relevant, present = planted_pools(0)
    constants = np.random.default_rng(1).normal(size=(len(features), 1, 4)) * 100
    np.testing.assert_allclose(
        fit_combination(features + constants, relevant, present),
        fit_combination(features, relevant, present),
        rtol=1e-4,
        atol=1e-5,
    )


def test_weights_scale_back_with_their_feature():
    features, relevant, present = planted_pools(0)
    scale = np.array([1000.0, 1.0, 0.01, 3.0])
    np.testing.assert_allclose(
        fit_combination(features * scale, relevant, present) * scale,
        fit_combination(features, relevant, present),
        rtol=1e-4,
        atol=1e-5,
    )


def test_padding_and_queries_without_a_positive_do_not_matter():
    features, relevant, present = planted_pools(0)
    expected = fit_combination(features, relevant, present)
    poisoned = features.copy()
    poisoned[~present] = 1e6
    np.testing.assert_array_equal(fit_combination(poisoned, relevant, present), expected)
    idle = np.zeros((50, *relevant.shape[1:]), bool)
    np.testing.assert_array_equal(
        fit_combination(
            np.concatenate([features, np.full((50, *features.shape[1:]), 7.0)]),
            np.concatenate([relevant, idle]),
            np.concatenate([present, ~idle]),
        ),
        expected,
    )


def test_a_constant_feature_gets_weight_zero():
    features, relevant, present = planted_pools(0)
    # 0.1 has no exact binary form: its mean over a pool is not always 0.1.
    features[:, :, 1] = 0.1
    assert fit_combination(features, relevant, present)[1] == 0.0


def test_perfect_separation_stays_finite():
    features, _, present = planted_pools(0)
    features *= 1e4
    relevant = (features[:, :, 0] == features[:, :, 0].max(axis=1, keepdims=True)) & present
    weights = fit_combination(features, relevant, present)
    assert np.isfinite(weights).all()
    assert weights[0] > 10 * np.abs(weights[1:]).max()


@pytest.mark.parametrize(
    ("relevant", "present"),
    [
        (np.zeros((2, 3), bool), np.ones((2, 3), bool)),
        (np.ones((2, 3), bool), np.ones((2, 3), bool)),
        (np.ones((2, 3), bool), np.zeros((2, 3), bool)),
    ],
)
def test_without_a_usable_query_only_retrieval_has_a_weight(relevant, present):
    features = np.random.default_rng(0).normal(size=(2, 3, 4))
    np.testing.assert_array_equal(fit_combination(features, relevant, present), [1, 0, 0, 0])


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


def test_the_weighted_sum_orders_the_pools_again():
    pools = pools_of(RELEVANT, SEEN)
    position = np.tile(np.arange(POOL, dtype=np.float32), (3, 1))
    retrieval, interaction, first, second = np.eye(4)
    assert pools.measure("mrr@6", retrieval, [position]) == pools.retrieval_alone("mrr@6")
    # The interaction reverses the pools, and padding stays last: ranks 3 and 1.
    assert pools.measure("mrr@6", interaction, [position]) == pytest.approx((1 / 3 + 1) / 3)
    for weights, column in ((first, 0), (second, 1)):
        ranked = sorted([1, 2, 3, 4, 5, 6], key=lambda row: -SIGNALS[row, column])
        best = min(ranked.index(1), ranked.index(4)) + 1
        short = sorted([0, 1, 2], key=lambda row: -SIGNALS[row, column])
        expected = (1 / best + 1 / (short.index(2) + 1)) / 3
        assert pools.measure("mrr@6", weights, [position]) == pytest.approx(expected)


def test_equal_scores_keep_the_order_of_rows():
    pools = pools_of(RELEVANT, SEEN)
    nothing = np.zeros((3, POOL))
    # Row 1 is the first of query 0; row 2 is the third of query 1.
    assert pools.measure("mrr@6", np.zeros(4), [nothing]) == pytest.approx((1 + 1 / 3) / 3)


def test_fitting_gives_the_weight_to_the_member_that_knows():
    everyone = [[row % 5 + 1] for row in range(NUM_CANDIDATES)]
    pools = pools_of(everyone, [[] for _ in everyone])
    knows = (pools.rows == np.array(everyone)).astype(np.float32)
    noise = np.random.default_rng(1).normal(size=pools.rows.shape).astype(np.float32)
    weights = pools.fit([noise, knows])
    assert len(weights) == 1 + 2 + 2
    assert weights[2] > 5 * np.abs(weights[[1, 3, 4]]).max()
    assert pools.measure("mrr@1", weights, [noise, knows]) == 1.0
    assert pools.retrieval_alone("mrr@1") < 0.3


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
    weights = pools.fit([2 * expected])
    assert (name, others) == ("mrr@6", [])
    assert value == pytest.approx(pools.measure("mrr@6", weights, [2 * expected]))


def test_a_pool_may_be_larger_than_the_corpus():
    pools = pools_of([[1]], [[]], num_candidates=NUM_CANDIDATES + 3)
    assert pools.rows.shape == (1, NUM_CANDIDATES + 3)
    assert pools.present.sum() == NUM_CANDIDATES
    assert np.isfinite(pools.fit([np.zeros((1, NUM_CANDIDATES + 3))])).all()
