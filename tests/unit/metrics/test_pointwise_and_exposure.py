import numpy as np
import pytest

from tests.reference import metrics as reference
from tfrs_twotower.metrics import auc, coverage, gauc, log_loss, popularity_lift
from tfrs_twotower.ranking.ragged import Ragged


@pytest.mark.parametrize("seed", range(5))
def test_property_11_6_4_auc_counts_pairs_with_ties(seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 60)
    scores = generator.integers(0, 8, 60) / 8
    assert auc(labels, scores) == pytest.approx(reference.auc(labels, scores), abs=1e-12)


def test_auc_of_one_class_is_not_a_number():
    assert np.isnan(auc(np.ones(3), np.arange(3.0)))


def test_gauc_weighs_queries_by_records_and_counts_those_left_out():
    codes = np.array([0, 0, 1, 1, 1, 2])
    labels = np.array([1, 0, 0, 1, 0, 1])
    scores = np.array([0.9, 0.1, 0.5, 0.4, 0.3, 0.8])
    average, left_out = gauc(codes, labels, scores)
    assert average == pytest.approx((2 * 1.0 + 3 * 0.5) / 5)
    assert left_out == pytest.approx(1 / 3)
    assert gauc(codes, labels, scores, weighted=False)[0] == pytest.approx((1.0 + 0.5) / 2)


def test_log_loss_clips():
    losses = log_loss(np.array([1, 1]), np.array([0.5, 0.0]))
    np.testing.assert_allclose(losses, [np.log(2), -np.log(1e-7)])


def test_log_loss_refuses_scores():
    with pytest.raises(ValueError, match="must lie in"):
        log_loss(np.array([1]), np.array([1.5]))


def test_coverage_ignores_padding():
    assert coverage(np.array([[0, 1], [1, -1]]), 2, 8) == 2 / 8


def test_popularity_lift_compares_lists_with_profiles():
    popularity = np.array([10.0, 2.0, 4.0])
    ranked = np.array([[0, 1], [0, -1], [0, 1]])
    profiles = Ragged.from_lists([[1, 2], [2], []])
    shown, chosen = popularity_lift(ranked, 2, profiles, popularity)
    np.testing.assert_allclose(shown, [(10 + 2) / 2, 10, np.nan])
    np.testing.assert_allclose(chosen, [(2 + 4) / 2, 4, np.nan])
