import numpy as np
import pytest

from tests.unit.training.toy import toy_table
from tfrs_twotower.training.closed_form_members import candidate_signals

DAY_S = 86_400


@pytest.fixture
def table():
    table = toy_table(repeats=1)
    table.candidate_rows[:] = 0
    table.candidate_rows[:10] = 1
    table.timestamps[:] = 100 * DAY_S
    table.timestamps[:30] = 93 * DAY_S + 1
    table.timestamps[:4] = 93 * DAY_S  # exactly seven days before the last
    return table


def test_counts_by_hand(table):
    """Row 0 stands 40 times, 20 of them on the last day; row 1 10 times, 4 a week before."""
    names, values = candidate_signals((None, 30.0, 7.0, 0.5), table, 3)
    assert names == ("log_count", "log_count_30d", "log_count_7d", "log_count_0.5d")
    counts = [[40, 40, 40, 20], [10, 10, 6, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(values, np.log(1 + np.array(counts)), rtol=1e-6)
    assert values.dtype == np.float32


def test_without_time_only_the_whole_window_is_known(table):
    table.timestamps[:] = 0
    names, values = candidate_signals((30.0, None, 7.0), table, 3)
    assert names == ("log_count",)
    np.testing.assert_allclose(values[:, 0], np.log([41, 11, 1]), rtol=1e-6)
    assert candidate_signals((30.0,), table, 3).values.shape == (3, 0)


def test_none_are_wanted(table):
    names, values = candidate_signals((), table, 3)
    assert names == ()
    assert values.shape == (3, 0)
