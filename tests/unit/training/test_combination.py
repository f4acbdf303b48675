"""The weighted sum of the cascade: its loss, its folds, and when retrieval's order is kept."""

import numpy as np
import pytest
from scipy.optimize import minimize

from tests.contracts.gradients import finite_differences
from tfrs_twotower.training import combination as combination
from tfrs_twotower.training.combination import Lists, combine, cross_fitted, folds_of

PENALTY = 1e-4


def fitted(features, relevant, present, *, penalty=PENALTY, towards=None):
    """Weights of the features as they came, drawn towards zero by default."""
    lists = Lists.of(features, relevant, present)
    start = np.eye(features.shape[-1])[0]
    if towards is None:
        towards = np.zeros(features.shape[-1])
    return lists.fit(penalty, towards, start) / lists.spread


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
    weights = fitted(np.array([[[1.0], [0.0]]]), np.array([[True, False]]), np.ones((1, 2), bool))
    low, high = 0.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        above = 1 / (1 + np.exp(middle)) > PENALTY * middle / 2
        low, high = (middle, high) if above else (low, middle)
    assert weights == pytest.approx([low], rel=1e-3)


def test_contradicting_queries_cancel():
    features = np.array([[[1.0], [0.0]], [[0.0], [1.0]]])
    relevant = np.array([[True, False], [True, False]])
    assert fitted(features, relevant, np.ones((2, 2), bool)) == pytest.approx([0.0], abs=1e-5)


def spread_of(features, present):
    """Deviation of each feature inside the pools."""
    deviations = [x[mask] - x[mask].mean(axis=0) for x, mask in zip(features, present, strict=True)]
    return np.sqrt((np.concatenate(deviations) ** 2).mean(axis=0))


@pytest.mark.parametrize("seed", range(2))
def test_the_weights_minimise_the_loss_with_the_penalty(seed):
    features, relevant, present = planted_pools(seed, queries=40, pool=8)
    weights = fitted(features, relevant, present)
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

    monkeypatch.setattr(combination, "minimize", record)
    features, relevant, present = planted_pools(seed, queries=30, pool=6)
    fitted(features, relevant, present)
    at = np.array([0.5, -1.0, 2.0, 0.1])
    spread = spread_of(features, present)
    value, slope = recorded["fun"](at)
    expected = loss_of(at / spread, features, relevant, present) + PENALTY * at @ at
    assert value == pytest.approx(expected, rel=1e-9)
    finite = finite_differences(lambda w: recorded["fun"](w.numpy())[0], at)[0]
    np.testing.assert_allclose(slope, finite, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_planted_weights_are_recovered_in_order(seed):
    weights = fitted(*planted_pools(seed))
    assert weights[0] > weights[1] > weights[2] > abs(weights[3])
    np.testing.assert_allclose(weights, [2.0, 1.0, 0.5, 0.0], atol=0.35)


def test_adding_a_constant_to_a_whole_pool_changes_nothing():
    features, relevant, present = planted_pools(0)
    constants = np.random.default_rng(1).normal(size=(len(features), 1, 4)) * 100
    np.testing.assert_allclose(
        fitted(features + constants, relevant, present),
        fitted(features, relevant, present),
        rtol=1e-4,
        atol=1e-5,
    )


def test_weights_scale_back_with_their_feature():
    features, relevant, present = planted_pools(0)
    scale = np.array([1000.0, 1.0, 0.01, 3.0])
    np.testing.assert_allclose(
        fitted(features * scale, relevant, present) * scale,
        fitted(features, relevant, present),
        rtol=1e-4,
        atol=1e-5,
    )


def test_padding_and_queries_without_a_positive_do_not_matter():
    features, relevant, present = planted_pools(0)
    expected = fitted(features, relevant, present)
    poisoned = features.copy()
    poisoned[~present] = 1e6
    np.testing.assert_array_equal(fitted(poisoned, relevant, present), expected)
    idle = np.zeros((50, *relevant.shape[1:]), bool)
    np.testing.assert_array_equal(
        fitted(
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
    assert fitted(features, relevant, present)[1] == 0.0


def test_perfect_separation_stays_finite():
    features, _, present = planted_pools(0)
    features *= 1e4
    relevant = (features[:, :, 0] == features[:, :, 0].max(axis=1, keepdims=True)) & present
    weights = fitted(features, relevant, present)
    assert np.isfinite(weights).all()
    assert weights[0] > 10 * np.abs(weights[1:]).max()


def hits_at_1(relevant, present):
    """The metric that decides: whether the first candidate of each pool is relevant."""

    def per_query(scores):
        best = np.where(present, scores, -np.inf).argmax(axis=1)
        return relevant[np.arange(len(relevant)), best].astype(float)

    return per_query


def combined(features, relevant, present):
    return combine(features, relevant, present, hits_at_1(relevant, present))


def test_a_strong_penalty_leaves_the_order_of_retrieval():
    features, relevant, present = planted_pools(0)
    lists = Lists.of(features, relevant, present)
    anchor = lists.retrieval_alone()
    assert anchor[0] > 0
    assert not anchor[1:].any()
    weights = fitted(features, relevant, present, penalty=1e6, towards=anchor)
    np.testing.assert_allclose(weights * lists.spread, anchor, atol=1e-3)


def test_retrieval_that_misleads_is_not_turned_round_by_itself():
    features, relevant, present = planted_pools(0, weights=(-3.0, 1.0))
    assert Lists.of(features, relevant, present).retrieval_alone().tolist() == [0.0, 0.0]


def test_folds_deal_out_usable_queries_and_the_others():
    usable = np.array([True, False, True, True, False, True, True, True])
    assert folds_of(usable, 3).tolist() == [0, 0, 1, 2, 1, 0, 1, 2]
    assert folds_of(np.array([True, False, True])).tolist() == [0, 0, 1]
    assert folds_of(np.array([True, False])).tolist() == [0, 0]


def test_no_query_is_scored_by_weights_that_it_was_fitted_on():
    features, relevant, present = planted_pools(1, queries=20, pool=6)
    lists = Lists.of(features, relevant, present)
    folds = folds_of(lists.usable)
    scores, weights = cross_fitted(lists, 1e-2, folds)
    assert weights.shape == (5, 4)
    changed = relevant.copy()
    changed[folds == 2] = np.roll(changed[folds == 2], 1, axis=1)
    others = Lists(lists.x, lists.spread, changed & present, present)
    again, _ = cross_fitted(others, 1e-2, folds)
    np.testing.assert_array_equal(again[folds == 2], scores[folds == 2])
    assert not np.allclose(again[folds != 2], scores[folds != 2])


@pytest.mark.parametrize("seed", range(3))
def test_a_combination_that_helps_is_used(seed):
    features, relevant, present = planted_pools(seed, weights=(1.0, 2.0, 1.0, 0.0))
    found = combined(features, relevant, present)
    assert found.facts["order"] == "combination"
    assert found.facts["gain"] > found.facts["gain_standard_error"] > 0
    np.testing.assert_allclose(found.weights, [1.0, 2.0, 1.0, 0.0], atol=0.45)
    inside = hits_at_1(relevant, present)(features @ found.weights).mean()
    outside = hits_at_1(relevant, present)(found.out_of_fold).mean()
    assert outside == pytest.approx(inside, abs=0.05)


def test_noise_does_not_replace_the_order_of_retrieval():
    """30 queries and ten features without meaning look better than they are on what was fitted."""
    kept, fitted_on_all, out_of_fold = [], [], []
    for seed in range(20):
        features, relevant, present = planted_pools(seed, weights=(1.0,), queries=30, pool=10)
        noise = np.random.default_rng(100 + seed).normal(size=(30, 10, 10))
        features = np.concatenate([features, noise], axis=2)
        per_query = hits_at_1(relevant, present)
        found = combined(features, relevant, present)
        kept.append(found.facts["order"] == "retrieval")
        if kept[-1]:
            assert found.weights.tolist() == [1.0] + [0.0] * 10
        alone = per_query(features[:, :, 0]).mean()
        fitted_on_all.append(
            per_query(features @ fitted(features, relevant, present)).mean() - alone
        )
        out_of_fold.append(found.facts["gain"])
    assert np.mean(kept) >= 0.75
    assert np.mean(fitted_on_all) > 0.03, "a figure of the queries that were fitted on"
    assert np.mean(out_of_fold) < 0.03


def test_a_clearly_better_member_is_not_missed_with_a_hundred_queries():
    """The gain in nDCG of so few queries is often within its error; their loss says more."""

    def ndcg_at_10(scores):
        place = (scores > scores[relevant][:, None]).sum(axis=1)
        return np.where(place < 10, 1.0 / np.log2(place + 2.0), 0.0)

    used, clear = [], []
    for seed in range(30):
        random = np.random.default_rng(seed)
        truth = random.normal(size=(100, 30))
        chosen = (2.0 * truth + random.gumbel(size=truth.shape)).argmax(axis=1)
        relevant = np.arange(30) == chosen[:, None]
        noise = random.normal(size=(*truth.shape, 2))
        retrieval, member = (truth + s * random.normal(size=truth.shape) for s in (0.5, 0.4))
        features = np.concatenate([retrieval[..., None], member[..., None], noise], axis=2)
        found = combine(features, relevant, np.ones_like(relevant), ndcg_at_10)
        used.append(found.facts["order"] == "combination")
        clear.append(found.facts["gain"] > found.facts["gain_standard_error"])
    assert np.mean(used) >= 0.9
    assert np.mean(clear) <= 0.8, "the metric alone would have missed these"


@pytest.mark.parametrize(("below", "order"), [(0.5, "combination"), (1.5, "retrieval")])
def test_a_metric_within_its_error_does_not_outvote_the_loss(below, order):
    features, relevant, present = planted_pools(0, weights=(1.0, 2.0))
    own = np.where(present, features[:, :, 0], 0.0)
    noise = np.random.default_rng(1).normal(size=len(relevant))
    lower = noise - noise.mean() - below * noise.std(ddof=1) / np.sqrt(len(noise))

    def metric(scores):
        return np.zeros(len(scores)) if np.array_equal(scores, own) else lower

    assert combine(features, relevant, present, metric).facts["order"] == order


def test_retrieval_keeps_a_weight_of_its_sign_unless_the_other_is_clearly_better():
    for seed in range(10):
        features, relevant, present = planted_pools(seed, weights=(0.0, 1.0), queries=40, pool=10)
        assert combined(features, relevant, present).weights[0] >= 0.0
    # A member that holds twice what retrieval says against it: here the sign is real.
    features, relevant, present = planted_pools(0, weights=(-1.5, 3.0))
    assert combined(features, relevant, present).weights[0] < -1.0
    # Only retrieval's sign is bound.
    features, relevant, present = planted_pools(0, weights=(1.0, 2.0, -2.0))
    assert combined(features, relevant, present).weights[2] < -1.5


def test_the_most_cautious_penalty_within_a_standard_error_is_taken():
    """Each penalty's loss on held-out queries is computed here, and its distance to the least."""
    chosen, best = [], []
    for seed in range(6):
        pools = planted_pools(seed, weights=(2.0, 0.4, 0.3), queries=60, pool=10)
        lists = Lists.of(*pools)
        losses = []
        for penalty in combination.PENALTIES:
            scores, _ = cross_fitted(lists, penalty, folds_of(lists.usable))
            losses.append(lists.losses(scores))
        best.append(int(np.argmin(np.mean(losses, axis=1))))
        excess = [own - losses[best[-1]] for own in losses]
        error = [own.std(ddof=1) / len(own) ** 0.5 for own in excess]
        allowed = [own.mean() <= most for own, most in zip(excess, error, strict=True)]
        chosen.append(allowed.index(True))
        assert combined(*pools).facts["penalty"] == combination.PENALTIES[chosen[-1]]
    assert chosen != best, "somewhere the least loss is that of a bolder penalty"


@pytest.mark.parametrize(
    ("relevant", "present"),
    [
        (np.zeros((2, 3), bool), np.ones((2, 3), bool)),
        (np.ones((2, 3), bool), np.ones((2, 3), bool)),
        (np.ones((2, 3), bool), np.zeros((2, 3), bool)),
        (np.eye(3, dtype=bool)[:1], np.ones((1, 3), bool)),
    ],
)
def test_without_two_usable_queries_only_retrieval_has_a_weight(relevant, present):
    features = np.random.default_rng(0).normal(size=(len(relevant), 3, 4))
    found = combined(features, relevant, present)
    np.testing.assert_array_equal(found.weights, [1, 0, 0, 0])
    assert found.out_of_fold is None
    assert "validation queries have a relevant candidate" in found.facts["reason"]
