"""Sums of floats without rounding, so that the order of workers cannot change a result.

Shewchuk 1997, "Adaptive precision floating-point arithmetic": a sum is kept as floats that do not
overlap; a square is split into its rounded value and its exact error (Dekker 1971).
"""

from collections.abc import Iterable
from fractions import Fraction

_SPLITTER = 134217729.0  # 2^27 + 1


def add_exactly(partials: list[float], number: float) -> None:
    """Adds a number to a sum that is kept as partial sums, in place."""
    kept = 0
    for partial in partials:
        if abs(number) < abs(partial):
            number, partial = partial, number
        high = number + partial
        low = partial - (high - number)
        if low:
            partials[kept] = low
            kept += 1
        number = high
    partials[kept:] = [number]


def exact_square(number: float) -> tuple[float, float]:
    """The square as its rounded value and the error of the rounding."""
    product = number * number
    scaled = _SPLITTER * number
    high = scaled - (scaled - number)
    low = number - high
    return product, ((high * high - product) + 2.0 * high * low) + low * low


def total(partials: Iterable[float]) -> Fraction:
    """The exact sum."""
    return sum((Fraction(partial) for partial in partials), Fraction(0))
