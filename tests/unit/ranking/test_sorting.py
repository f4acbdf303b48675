"""Orders and distinct numbers agree with NumPy's own."""

import numpy as np
import pytest

from tfrs_twotower.ranking.sorting import contains, distinct, is_first, order_by

_FLOATS = [0.0, -0.0, 1.5, -2.0, -7.5, 7e30]


def _keys(rng, kind, number):
    match kind:
        case "few":
            return rng.integers(-3, 4, number)
        case "bool":
            return rng.integers(0, 2, number).astype(bool)
        case "float64":
            return rng.choice(_FLOATS, number)
        case "float32":
            return rng.choice(_FLOATS, number).astype(np.float32)
        case "wide":
            return rng.integers(-(1 << 62), 1 << 62, number)
        case _:
            return rng.choice(np.array([-(1 << 63), (1 << 63) - 1, 0, 5]), number)


def test_order_by_hand():
    groups, times = np.array([1, 0, 1, 0]), np.array([5, 9, 2, 9])
    assert order_by(groups, times).tolist() == [1, 3, 2, 0]


@pytest.mark.parametrize("seed", range(5))
def test_order_is_that_of_lexsort(seed):
    rng = np.random.default_rng(seed)
    kinds = ["few", "bool", "float64", "float32", "wide", "extremes"]
    for number in (0, 1, 2, 3, 7, 64, 65):
        for _ in range(20):
            keys = [_keys(rng, kind, number) for kind in rng.choice(kinds, rng.integers(1, 6))]
            assert order_by(*keys).tolist() == np.lexsort(keys[::-1]).tolist()


def test_distinct_numbers_are_those_of_numpy():
    numbers = np.random.default_rng(0).integers(-3, 9, size=(7, 5))
    assert distinct(numbers).tolist() == np.unique(numbers).tolist()
    assert distinct(np.zeros(0, np.int64)).tolist() == []


def test_first_of_each_number():
    assert is_first(np.array([2, 2, 5, 7, 7])).tolist() == [True, False, True, True, False]
    assert is_first(np.zeros(0)).tolist() == []


def test_contained_numbers_are_those_of_numpy():
    rng = np.random.default_rng(1)
    ordered, numbers = distinct(rng.integers(0, 50, 30)), rng.integers(-5, 60, 200)
    assert contains(ordered, numbers).tolist() == np.isin(numbers, ordered).tolist()
    assert contains(ordered[:0], numbers).tolist() == [False] * 200
