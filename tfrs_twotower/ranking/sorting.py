"""Orders of many rows by several keys, and distinct numbers: by plain sorts of single numbers.

NumPy sorts an array of 64-bit integers by vector instructions; its sort by several keys
(`np.lexsort`) and its hash table of distinct numbers (`np.unique`, `np.isin`) take ten to a hundred
times as long.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST = 1 << 63
"""Numbers below it fit an integer of 64 bits."""


def distinct(numbers: NDArray[Any]) -> NDArray[Any]:
    """Each number once, ascending."""
    ordered = np.sort(numbers, axis=None)
    return ordered[is_first(ordered)]


def is_first(ordered: NDArray[Any]) -> NDArray[np.bool_]:
    """`[n]`: whether a number of a sorted array is the first of its kind."""
    first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return first


def contains(ordered: NDArray[Any], numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each number is in a sorted array, `[len(numbers)]`; quickest if they are sorted."""
    if not len(ordered):
        return np.zeros(len(numbers), bool)
    places = np.minimum(np.searchsorted(ordered, numbers), len(ordered) - 1)
    return np.asarray(ordered[places] == numbers)


def order_by(*keys: NDArray[Any]) -> NDArray[np.int64]:
    """The order of rows by the first key, of equal ones by the next, at last by their number.

    It is that of `np.lexsort(keys[::-1])`. Neighbouring keys that fit are packed, with the number
    of the row, into one integer of 63 bits.

    Args:
        keys: `[n]` each; integers, truth values, or numbers without NaN.
    """
    order = np.arange(len(keys[0]))
    if not len(order):
        return order
    bits = len(order).bit_length()
    packed, width = np.zeros(len(order), np.int64), 1
    for key in reversed(keys):
        values = _integers(key)
        least, largest = int(values.min()), int(values.max())
        span = largest - least + 1
        if width > 1 and width * span << bits > _MOST:
            order = order[_sorted(packed, bits)]
            packed, width = np.zeros(len(order), np.int64), 1
        if span << bits > _MOST:
            order = order[np.argsort(values[order], kind="stable")]
        elif span > 1:
            packed += (values[order] - least) * width
            width *= span
    return order[_sorted(packed, bits)] if width > 1 else order


def _sorted(packed: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """The order of numbers, of equal ones by their rows, which take this many bits."""
    rows = np.arange(len(packed))
    return np.sort(packed << bits | rows) & ((1 << bits) - 1)


def _integers(key: NDArray[Any]) -> NDArray[np.int64]:
    """Integers in the order of the key."""
    if key.dtype.kind != "f":
        return key.astype(np.int64)
    own = np.int32 if key.dtype == np.float32 else np.int64
    # The bits of a positive float ascend with it, those of a negative one descend; -0 becomes 0.
    bits = (key + key.dtype.type(0)).view(own).astype(np.int64)
    return np.where(bits < 0, bits ^ np.iinfo(own).max, bits)
