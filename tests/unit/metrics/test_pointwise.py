import numpy as np
import pytest

from tests.reference import metrics as reference
from tfrs_twotower.metrics import auc, gauc, log_loss


@pytest.mark.parametrize("seed", range(5))
def test_auc_counts_pairs_with_ties_as_half(seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 60)
    scores = generator.integers(0, 8, 60) / 8
    assert auc(labels, scores) == pytest.approx(reference.auc(labels, scores), abs=1e-12)


def test_auc_of_one_class_is_nan():
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
