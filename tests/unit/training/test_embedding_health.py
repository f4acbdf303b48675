import numpy as np
import pytest

from tfrs_twotower.training.validation import embedding_health


def health(candidates, queries=None, positives=None):
    candidates = np.asarray(candidates, np.float32)
    queries = candidates if queries is None else np.asarray(queries, np.float32)
    positives = np.arange(len(queries)) if positives is None else positives
    return embedding_health(queries, candidates, positives)


def test_two_opposite_points():
    values = health([[1.0, 0.0], [-1.0, 0.0]])
    assert values["uniformity"] == pytest.approx(np.log(np.exp(-2 * 2.0**2)))
    assert values["mean_cosine"] == pytest.approx(-1.0)
    assert values["alignment"] == 0.0
    assert values["mean_norm"] == 1.0


def test_orthogonal_points():
    assert health(np.eye(2))["uniformity"] == pytest.approx(np.log(np.exp(-2 * 2.0)))


def test_collapse():
    values = health(np.ones((5, 2)) / np.sqrt(2))
    assert values["uniformity"] == pytest.approx(0.0, abs=1e-6)
    assert values["mean_cosine"] == pytest.approx(1.0)


def test_hand_worked_alignment():
    values = health(np.eye(2), queries=[[1.0, 0.0], [1.0, 0.0]])
    assert values["alignment"] == pytest.approx((0.0 + 2.0) / 2)


def test_rotation_changes_nothing():
    random = np.random.default_rng(0)
    points = random.normal(size=(30, 3))
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    assert health(points @ turn) == pytest.approx(health(points), rel=1e-4)
