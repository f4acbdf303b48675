import numpy as np

from tfrs_twotower.layers.seeded import WeightMaker


def test_values_depend_on_seed_and_name_only():
    first = WeightMaker(3).under("query")
    alone = first.normal("kernel", [4, 4], 1.0)
    other = WeightMaker(3)
    other.normal("something", [2, 2], 1.0)
    again = other.under("query").normal("kernel", [4, 4], 1.0)
    np.testing.assert_array_equal(alone, again)
    assert alone.name == "query.kernel:0"
    assert (first.normal("other", [4, 4], 1.0).numpy() != alone.numpy()).any()
    changed = WeightMaker(4).under("query").normal("kernel", [4, 4], 1.0)
    assert (changed.numpy() != alone.numpy()).any()


def test_deviation_and_zero_rows():
    values = WeightMaker(0).normal("table", [1000, 16], 0.05, zero_rows=2).numpy()
    assert not values[:2].any()
    assert abs(values[2:].std() - 0.05) < 0.001


def test_large_seed():
    WeightMaker(2**40 + 1).normal("kernel", [2], 1.0)
