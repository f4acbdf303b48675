import numpy as np
import pytest
from scipy import stats

from tfrs_twotower.evaluation.systems import (
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
    assert paired_randomisation(differences, 200, 0) == 1.0


def test_randomisation_is_the_exact_test_on_few_queries():
    """Three differences of 1: of 8 sign patterns, 2 reach |sum| = 3."""
    assert paired_randomisation(np.ones((3, 1)), 20_000, 0)[0] == pytest.approx(2 / 8, abs=0.01)


def test_randomisation_is_never_zero():
    assert paired_randomisation(np.ones((200, 1)), 99, 0)[0] == pytest.approx(1 / 100)


def test_intervals_cover_the_truth_about_nineteen_times_in_twenty():
    generator = np.random.default_rng(0)
    values = generator.normal(0.3, 1, (120, 400))
    low, high = mean_intervals(values, 400, 1)
    assert 0.91 <= ((low <= 0.3) & (high >= 0.3)).mean() <= 0.98


def test_the_interval_of_a_constant_is_the_constant():
    np.testing.assert_allclose(mean_intervals(np.full((10, 1), 0.5), 50, 0), [[0.5], [0.5]])
    np.testing.assert_allclose(ratio_interval(np.full(9, 3.0), np.full(9, 2.0), 50, 0), [1.5, 1.5])
