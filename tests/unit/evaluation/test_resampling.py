import numpy as np
import pytest
from scipy import stats

from tfrs_twotower.evaluation import resampling
from tfrs_twotower.evaluation.resampling import (
    bootstrap_sums,
    holm,
    mean_intervals,
    paired_randomisation,
    paired_t_test,
    ratio_interval,
)


def test_holm_by_hand():
    adjusted = holm(np.array([0.01, 0.04, 0.03]))
    np.testing.assert_allclose(adjusted, [3 * 0.01, 2 * 0.03, 2 * 0.03])


def test_the_t_test_is_students():
    differences = np.random.default_rng(0).normal(0.1, 1, (80, 3))
    t = differences.mean(axis=0) / (differences.std(axis=0, ddof=1) / np.sqrt(80))
    expected = 2 * stats.t.sf(np.abs(t), 80 - 1)
    np.testing.assert_allclose(paired_t_test(differences), expected, rtol=1e-12)


def test_differences_that_do_not_vary_have_a_p_without_a_warning():
    """0 is no difference; another constant, even if only up to rounding, is a certain one."""
    values = np.random.default_rng(0).random(50)
    constant = np.stack([np.zeros(50), np.full(50, -0.25), (values + 0.05) - values], axis=1)
    assert np.ptp(constant[:, 2]) > 0
    assert paired_t_test(constant) == pytest.approx([1.0, 0.0, 0.0], abs=1e-12)
    assert paired_t_test(constant[:1]).tolist() == [1.0, 1.0, 1.0]


def test_equal_systems_do_not_differ():
    differences = np.zeros((20, 1))
    assert paired_t_test(differences) == 1.0
    assert paired_randomisation(differences) == 1.0


def test_randomisation_is_the_exact_test_on_few_queries():
    """Three differences of 1: of 8 sign patterns, 2 reach |sum| = 3."""
    assert paired_randomisation(np.ones((3, 1)))[0] == 2 / 8


def test_it_agrees_with_scipy_where_all_patterns_can_be_counted():
    differences = np.random.default_rng(0).normal(0.4, 1, (12, 4))
    for column, p in zip(differences.T, paired_randomisation(differences), strict=True):
        exact = stats.permutation_test(
            (column,), np.sum, permutation_type="samples", n_resamples=np.inf
        )
        assert p == pytest.approx(exact.pvalue)


@pytest.mark.parametrize("shift", [0.05, 0.3, 0.6, 1.2])
def test_the_approximation_is_near_the_count_of_all_patterns(monkeypatch, shift):
    differences = np.random.default_rng(1).normal(shift, 1, (16, 6))
    exact = paired_randomisation(differences)
    monkeypatch.setattr(resampling, "_MOST_ENUMERATED", 0)
    near = paired_randomisation(differences)
    np.testing.assert_allclose(near[exact > 2e-3], exact[exact > 2e-3], rtol=0.06)
    # So far out hardly ten of the 65,536 patterns are left.
    np.testing.assert_allclose(np.log2(near), np.log2(exact), atol=1.0)


def test_a_sign_test_is_binomial_however_small_its_p_is():
    """Of 400 differences that are +1 or -1 the sum is 400 - 2 m, with m binomial."""
    for minus in (200, 180, 150, 120, 80, 0):
        column = np.where(np.arange(400) < minus, -1.0, 1.0)
        expected = min(1.0, 2 * stats.binom.cdf(minus, 400, 0.5))
        assert paired_randomisation(column[:, None])[0] == pytest.approx(expected, rel=0.02)


def test_it_agrees_with_random_patterns():
    random = np.random.default_rng(2)
    shares = random.choice([0, 0.25, 1 / 3, 0.5, 1], (300, 3)) * random.choice([1, -1], (300, 3))
    differences = shares + np.array([0.02, 0.05, 0.08])
    signs = random.choice([-1.0, 1.0], (40_000, 300))
    drawn = np.abs(signs @ differences) >= np.abs(differences.sum(axis=0)) - 1e-9
    np.testing.assert_allclose(paired_randomisation(differences), drawn.mean(axis=0), atol=0.008)


def test_a_clear_difference_stays_clear_among_many():
    """The corrected p of 60 comparisons is below .001, which 2,000 random patterns never show."""
    differences = np.random.default_rng(3).normal(0.3, 1, (900, 60))
    assert holm(paired_randomisation(differences)).max() < 1e-3


def test_its_p_is_uniform_without_a_difference():
    p = paired_randomisation(np.random.default_rng(4).normal(0, 1, (60, 2_000)))
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_draws_are_the_same_kept_or_not(monkeypatch):
    values = np.random.default_rng(5).random((70, 3))
    kept = bootstrap_sums(values, 200, 9)
    monkeypatch.setattr(resampling, "_MOST_KEPT", 0)
    np.testing.assert_array_equal(bootstrap_sums(values, 200, 9), kept)


def test_intervals_cover_the_truth_about_nineteen_times_in_twenty():
    generator = np.random.default_rng(0)
    values = generator.normal(0.3, 1, (120, 400))
    low, high = mean_intervals(values, 400, 1)
    assert 0.91 <= ((low <= 0.3) & (high >= 0.3)).mean() <= 0.98


def test_the_interval_of_a_constant_is_the_constant():
    np.testing.assert_allclose(mean_intervals(np.full((10, 1), 0.5), 50, 0), [[0.5], [0.5]])
    np.testing.assert_allclose(ratio_interval(np.full(9, 3.0), np.full(9, 2.0), 50, 0), [1.5, 1.5])
