"""Intervals and tests over queries: bootstrap, paired randomisation, t-test, Holm."""

import itertools
import warnings
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import scipy  # its parts are loaded when they are first used
from numpy.typing import NDArray

LEVEL = 0.95
"""Coverage of the intervals."""
_DRAWS_AT_ONCE = 8_000_000
_CONVERTED_AT_ONCE = 2_000_000
"""Draws that are float64 at once: the allocator hands 16 MB out again, more come as fresh pages."""
_MOST_KEPT = 50_000_000
_MOST_ENUMERATED = 16


def bootstrap_sums(
    values: NDArray[np.float64], num_resamples: int, seed: int
) -> NDArray[np.float64]:
    """Column sums over queries drawn with replacement.

    Args:
        values: `[num_queries, num_columns]`.
        num_resamples: number of resamples.
        seed: seed of the draws. One draw serves all columns, so that differences stay paired.

    Returns:
        `[num_resamples, num_columns]`.
    """
    num_queries, done = len(values), 0
    sums = np.zeros((num_resamples, values.shape[1]))
    kept = num_resamples * num_queries <= _MOST_KEPT
    for times in (_kept_draws if kept else _draw)(num_queries, num_resamples, seed):
        for part in np.array_split(times, -(-times.size // _CONVERTED_AT_ONCE)):
            sums[done : done + len(part)] = part.astype(np.float64) @ values
            done += len(part)
    return sums


def _draw(num_queries: int, num_resamples: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """How often each query is in each resample, `[chunk, num_queries]`, in chunks."""
    generator = np.random.default_rng(seed)
    for _, count in _chunks(num_resamples, num_queries):
        drawn = generator.integers(0, num_queries, size=(count, num_queries))
        drawn += np.arange(count)[:, None] * num_queries
        times = np.bincount(drawn.ravel(), minlength=count * num_queries)
        yield np.minimum(times, 255).astype(np.uint8).reshape(count, num_queries)


@lru_cache(maxsize=16)
def _kept_draws(num_queries: int, num_resamples: int, seed: int) -> list[NDArray[np.uint8]]:
    """The draws, which are the same for every system and metric on as many queries."""
    return list(_draw(num_queries, num_resamples, seed))


def _chunks(num_repetitions: int, num_queries: int) -> Iterator[tuple[int, int]]:
    """Start and length of the chunks of repetitions that are drawn at once, to bound memory."""
    size = max(1, _DRAWS_AT_ONCE // max(num_queries, 1))
    for start in range(0, num_repetitions, size):
        yield start, min(size, num_repetitions - start)


def mean_intervals(
    values: NDArray[np.float64], num_resamples: int, seed: int
) -> NDArray[np.float64]:
    """95 % intervals of the column means.

    Args:
        values: `[num_queries, num_columns]`, at least one query.
        num_resamples: number of resamples of the bootstrap.
        seed: seed of the draws.

    Returns:
        `[2, num_columns]`: lower and upper ends.
    """
    return _percentiles(bootstrap_sums(values, num_resamples, seed) / len(values))


def ratio_interval(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], num_resamples: int, seed: int
) -> NDArray[np.float64]:
    """95 % interval, `[2]`, of mean(numerator) / mean(denominator) over the same queries."""
    sums = bootstrap_sums(np.stack([numerator, denominator], axis=1), num_resamples, seed)
    usable = sums[:, 1] > 0
    return _percentiles((sums[usable, 0] / sums[usable, 1])[:, None])[:, 0]


def _percentiles(estimates: NDArray[np.float64]) -> NDArray[np.float64]:
    tail = (1.0 - LEVEL) / 2.0
    return np.quantile(estimates, [tail, 1.0 - tail], axis=0)


def paired_t_test(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two-sided p of Student's paired t-test.

    Args:
        differences: `[num_queries, num_pairs]`, one system minus the other.

    Returns:
        `[num_pairs]`; 1 where all differences are 0 or there are fewer than two queries.
    """
    if len(differences) < 2:
        return np.ones(differences.shape[1])
    with warnings.catch_warnings():
        # SciPy warns about differences that hardly vary; their p, close to 0, is right.
        warnings.simplefilter("ignore", RuntimeWarning)
        p = scipy.stats.ttest_1samp(differences, 0.0).pvalue
    return np.where(np.isnan(p), 1.0, p)


def paired_randomisation(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two-sided p of Fisher's paired randomisation test: P(|sum of +-d| >= |sum of d|).

    Every sign is + or - with probability 1/2. Up to 16 differences that are not 0 all patterns of
    signs are counted. Beyond that the tail is taken from the saddlepoint approximation of Lugannani
    & Rice (1980), with Daniels' (1987) correction where all differences are multiples of one
    number. It is within a few per cent of the exact p however small that is, which no affordable
    number of random patterns could resolve.

    Args:
        differences: `[num_queries, num_pairs]`.

    Returns:
        `[num_pairs]`, above 0.
    """
    return np.array([_randomisation(column[column != 0]) for column in differences.T])


def _randomisation(differences: NDArray[np.float64]) -> float:
    size = np.abs(differences)
    # Sums of the same numbers in another order differ in the last bits.
    observed = abs(differences.sum()) - 1e-9 * max(1.0, size.sum())
    if observed <= 0:
        return 1.0
    if len(size) <= _MOST_ENUMERATED:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(size))))
        return float((np.abs(signs @ size) >= observed).mean())
    step = 2.0 * _common_factor(size)
    return float(min(1.0, 2.0 * _upper_tail(size, observed, step)))


def _common_factor(size: NDArray[np.float64]) -> float:
    """The smallest difference if all others are its multiples, else 0."""
    times = size / size.min()
    return float(size.min()) if np.allclose(times, np.rint(times), rtol=0, atol=1e-6) else 0.0


def _upper_tail(size: NDArray[np.float64], observed: float, step: float) -> float:
    """P(S >= observed) of S = sum of +-size, whose values are `step` apart (0: continuous)."""
    target = observed if not step else observed + 1e-9 * size.sum() - step / 2
    if target >= size.sum() * (1 - 1e-12):  # only the pattern of all signs alike reaches it
        return float(0.5 ** len(size))
    low, high = 0.0, 1.0

    def slope(t: float) -> float:
        return float((size * np.tanh(t * size)).sum())

    while slope(high) < target:
        high *= 2.0
    t = scipy.optimize.brentq(lambda t: slope(t) - target, low, high, xtol=1e-14, rtol=1e-12)
    scaled = t * size
    cumulant = (np.logaddexp(scaled, -scaled) - np.log(2.0)).sum()
    spread = np.sqrt((size**2 / np.cosh(np.minimum(scaled, 300.0)) ** 2).sum())
    w = np.sqrt(max(2.0 * (t * target - cumulant), 0.0))
    u = (2.0 / step * np.sinh(t * step / 2.0) if step else t) * spread
    if w < 1e-4:
        return 0.5
    density = np.exp(-0.5 * w * w) / np.sqrt(2.0 * np.pi)
    tail = scipy.stats.norm.sf(w) + density * (1.0 / u - 1.0 / w)
    return float(max(tail, 0.5 ** len(size)))


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's (1979) adjusted p-values of one family of tests, in the given order.

    The i-th smallest of m is multiplied by m - i + 1, made non-decreasing, and cut at 1.
    """
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    stepped = np.maximum.accumulate(p_values[order] * np.arange(count, 0, -1))
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
