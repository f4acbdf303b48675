import numpy as np

from tfrs_twotower.training.plan import time_decay


def test_hand_worked_time_decay():
    day = 86_400
    weights = time_decay(
        np.array([100 * day, 90 * day, 80 * day, 101 * day]), half_life_days=10, end_s=100 * day
    )
    np.testing.assert_allclose(weights, [1, 1 / 2, 1 / 4, 1])
