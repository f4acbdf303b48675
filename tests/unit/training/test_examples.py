import numpy as np

from tests.unit.training.toy import toy_table
from tfrs_twotower.training.examples import first_interactions, time_decay


def test_hand_worked_time_decay():
    day = 86_400
    weights = time_decay(
        np.array([100 * day, 90 * day, 80 * day, 101 * day]), half_life_days=10, end_s=100 * day
    )
    np.testing.assert_allclose(weights, [1, 1 / 2, 1 / 4, 1])


def test_first_interactions_keep_the_earliest_of_each_pair():
    table = first_interactions(toy_table(repeats=3))
    assert len(table) == 50
    np.testing.assert_array_equal(table.timestamps, np.arange(50))
    np.testing.assert_array_equal(table.tokens["id"], np.arange(50))
