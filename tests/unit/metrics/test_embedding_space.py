import numpy as np
import pytest

from tests.unit.evaluation.world import unit
from tfrs_twotower.metrics.embedding_space import (
    alignment,
    effective_rank,
    embedding_health,
    hubness,
    ideal_uniformity,
    mean_cosine,
    uniformity,
    uniformity_of_pairs,
)


def test_uniformity_of_two_points():
    assert uniformity(np.array([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8.0)
    assert uniformity(np.array([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(-4.0)
    assert uniformity(np.array([[1.0, 0.0], [1.0, 0.0]])) == pytest.approx(0.0)


def test_uniformity_of_an_even_sphere():
    points = unit(np.random.default_rng(0).normal(size=(2000, 32)))
    assert uniformity(points) == pytest.approx(-3.75, abs=0.01)
    assert ideal_uniformity(32) == -4 + 8 / 32


def test_alignment_is_zero_only_for_equal_pairs():
    points = unit(np.random.default_rng(0).normal(size=(20, 5)))
    assert alignment(points, points) == 0
    assert alignment(points[:1], -points[:1]) == pytest.approx(4.0)


def test_figures_do_not_change_under_rotation():
    generator = np.random.default_rng(0)
    points = unit(generator.normal(size=(60, 6)))
    turn, _ = np.linalg.qr(generator.normal(size=(6, 6)))
    for figure in (uniformity, effective_rank, mean_cosine):
        assert figure(points @ turn) == pytest.approx(figure(points))


def test_effective_rank_and_mean_cosine_at_the_ends():
    assert effective_rank(np.eye(7)) == pytest.approx(7.0)
    assert mean_cosine(np.eye(7)) == pytest.approx(0.0)
    collapsed = np.tile([[1.0, 0.0, 0.0]], (9, 1))
    assert effective_rank(collapsed) == pytest.approx(1.0, abs=1e-4)
    assert mean_cosine(collapsed) == pytest.approx(1.0)


def test_hubness_is_skewness():
    """Counts 3, 0, 0, 0: mean .75, variance 27/16, third moment (2.25^3 - 3 * .75^3) / 4."""
    expected = ((2.25**3 - 3 * 0.75**3) / 4) / (27 / 16) ** 1.5
    assert hubness(np.array([[0], [0], [0]]), 1, 4) == pytest.approx(expected)
    assert hubness(np.array([[0], [1]]), 1, 2) == 0.0


def test_uniformity_of_given_pairs_is_that_of_all_pairs():
    points = unit(np.random.default_rng(0).normal(size=(30, 4)))
    first, second = np.triu_indices(30, 1)
    assert uniformity_of_pairs(points[first], points[second]) == pytest.approx(uniformity(points))


def health(candidates, queries=None, positives=None):
    candidates = np.asarray(candidates, np.float32)
    queries = candidates if queries is None else np.asarray(queries, np.float32)
    positives = np.arange(len(queries)) if positives is None else positives
    return embedding_health(queries, candidates, positives)


def test_health_of_two_opposite_points():
    values = health([[1.0, 0.0], [-1.0, 0.0]])
    assert values["uniformity"] == pytest.approx(np.log(np.exp(-2 * 2.0**2)))
    assert values["mean_cosine"] == pytest.approx(-1.0)
    assert values["alignment"] == 0.0
    assert values["mean_norm"] == 1.0


def test_health_of_orthogonal_points():
    assert health(np.eye(2))["uniformity"] == pytest.approx(np.log(np.exp(-2 * 2.0)))


def test_health_of_a_collapse():
    values = health(np.ones((5, 2)) / np.sqrt(2))
    assert values["uniformity"] == pytest.approx(0.0, abs=1e-6)
    assert values["mean_cosine"] == pytest.approx(1.0)


def test_hand_worked_alignment_of_health():
    values = health(np.eye(2), queries=[[1.0, 0.0], [1.0, 0.0]])
    assert values["alignment"] == pytest.approx((0.0 + 2.0) / 2)


def test_rotation_does_not_change_health():
    random = np.random.default_rng(0)
    points = random.normal(size=(30, 3))
    turn, _ = np.linalg.qr(random.normal(size=(3, 3)))
    assert health(points @ turn) == pytest.approx(health(points), rel=1e-4)
