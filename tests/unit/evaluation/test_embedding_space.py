import numpy as np
import pytest

from tests.unit.evaluation.world import unit
from tfrs_twotower.evaluation.embedding_space import (
    alignment,
    effective_rank,
    hubness,
    mean_cosine,
    uniformity,
)


def test_uniformity_of_two_points():
    assert uniformity(np.array([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8.0)
    assert uniformity(np.array([[1.0, 0.0], [0.0, 1.0]])) == pytest.approx(-4.0)
    assert uniformity(np.array([[1.0, 0.0], [1.0, 0.0]])) == pytest.approx(0.0)


def test_uniformity_of_an_even_sphere():
    points = unit(np.random.default_rng(0).normal(size=(2000, 32)))
    assert uniformity(points) == pytest.approx(-3.75, abs=0.01)


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
