import numpy as np
import pytest
from scipy.optimize import minimize

from tests.contracts.gradients import finite_differences
from tfrs_twotower.training import cascade_validation as combination
from tfrs_twotower.training.cascade_validation import fit_combination

PENALTY = 1e-4


def loss_of(weights, features, relevant, present):
    """The mean over queries of mean_j log(1 + sum_i exp(s_i - s_j)), a loop."""
    losses = []
    for x, good, there in zip(features, relevant, present, strict=True):
        bad = [row for row, g, t in zip(x, good, there, strict=True) if t and not g]
        own = [row for row, g, t in zip(x, good, there, strict=True) if t and g]
        if own and bad:
            scores = [np.log1p(sum(np.exp(weights @ (b - o)) for b in bad)) for o in own]
            losses.append(np.mean(scores))
    return float(np.mean(losses))


def planted(seed, weights=(2.0, 1.0, 0.5, 0.0), queries=400, pool=20):
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


def test_hand_worked_single_feature():
    # One query; the positive has 1, the other 0. In a pool of two the standardised feature is +-1,
    # so v = 2 w' is the difference of scores: the least of log(1 + e^-v) + 1e-4 (v / 2)^2 is where
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
    deviations = [
        x[there] - x[there].mean(axis=0) for x, there in zip(features, present, strict=True)
    ]
    return np.sqrt((np.concatenate(deviations) ** 2).mean(axis=0))


@pytest.mark.parametrize("seed", range(2))
def test_it_is_the_minimum_of_the_loss_with_the_penalty(seed):
    features, relevant, present = planted(seed, queries=40, pool=8)
    weights = fit_combination(features, relevant, present)
    spread = spread_of(features, present)

    def objective(w):
        return loss_of(w, features, relevant, present) + PENALTY * np.sum((w * spread) ** 2)

    slope = finite_differences(lambda w: objective(w.numpy()), weights)[0]
    np.testing.assert_allclose(slope, 0.0, atol=1e-4)
    found = minimize(objective, np.zeros(4), method="Nelder-Mead", options={"maxfev": 1200})
    assert objective(weights) <= found.fun + 1e-6


@pytest.mark.parametrize("seed", range(2))
def test_the_gradient_that_the_optimiser_is_given(seed, monkeypatch):
    given = {}

    def record(fun, start, **_):
        given["fun"] = fun
        return minimize(fun, start, jac=True, method="L-BFGS-B")

    monkeypatch.setattr(combination, "minimize", record)
    features, relevant, present = planted(seed, queries=30, pool=6)
    fit_combination(features, relevant, present)
    at = np.array([0.5, -1.0, 2.0, 0.1])
    spread = spread_of(features, present)
    value, slope = given["fun"](at)
    expected = loss_of(at / spread, features, relevant, present) + PENALTY * at @ at
    assert value == pytest.approx(expected, rel=1e-9)
    finite = finite_differences(lambda w: given["fun"](w.numpy())[0], at)[0]
    np.testing.assert_allclose(slope, finite, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_planted_weights_are_recovered_in_order(seed):
    weights = fit_combination(*planted(seed))
    assert weights[0] > weights[1] > weights[2] > abs(weights[3])
    np.testing.assert_allclose(weights, [2.0, 1.0, 0.5, 0.0], atol=0.35)


def test_what_a_whole_pool_has_in_common_changes_nothing():
    features, relevant, present = planted(0)
    constants = np.random.default_rng(1).normal(size=(len(features), 1, 4)) * 100
    np.testing.assert_allclose(
        fit_combination(features + constants, relevant, present),
        fit_combination(features, relevant, present),
        rtol=1e-4,
        atol=1e-5,
    )


def test_weights_scale_back_with_their_feature():
    features, relevant, present = planted(0)
    scale = np.array([1000.0, 1.0, 0.01, 3.0])
    np.testing.assert_allclose(
        fit_combination(features * scale, relevant, present) * scale,
        fit_combination(features, relevant, present),
        rtol=1e-4,
        atol=1e-5,
    )


def test_padding_and_queries_without_a_positive_do_not_matter():
    features, relevant, present = planted(0)
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


def test_a_feature_that_says_nothing_gets_no_weight():
    features, relevant, present = planted(0)
    # 0.1 has no exact binary form: its mean over a pool is not always 0.1.
    features[:, :, 1] = 0.1
    assert fit_combination(features, relevant, present)[1] == 0.0


def test_perfect_separation_stays_finite():
    features, _, present = planted(0)
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
def test_without_anything_to_learn_from_retrieval_stays_alone(relevant, present):
    features = np.random.default_rng(0).normal(size=(2, 3, 4))
    np.testing.assert_array_equal(fit_combination(features, relevant, present), [1, 0, 0, 0])
