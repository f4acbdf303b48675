import numpy as np

from tfrs_twotower.metrics import coverage, popularity_lift
from tfrs_twotower.ranking.ragged import Ragged


def test_coverage_ignores_padding():
    assert coverage(np.array([[0, 1], [1, -1]]), 2, 8) == 2 / 8


def test_popularity_lift_compares_lists_with_profiles():
    popularity = np.array([10.0, 2.0, 4.0])
    ranked = np.array([[0, 1], [0, -1], [0, 1]])
    profiles = Ragged.from_lists([[1, 2], [2], []])
    recommended, chosen = popularity_lift(ranked, 2, profiles, popularity)
    np.testing.assert_allclose(recommended, [(10 + 2) / 2, 10, np.nan])
    np.testing.assert_allclose(chosen, [(2 + 4) / 2, 4, np.nan])
