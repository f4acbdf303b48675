"""Confidence intervals by the percentile bootstrap over queries (Efron 1979)."""

import numpy as np
from numpy.typing import NDArray

_CHUNK_NUMBERS = 8_000_000
LEVEL = 0.95


def bootstrap_sums(
    values: NDArray[np.float64], num_resamples: int, seed: int
) -> NDArray[np.float64]:
    """Column sums over queries drawn with replacement.

    Args:
        values: `[num_queries, num_columns]`.
        num_resamples: how often.
        seed: of the draws. The same draw serves all columns, so that differences stay paired.

    Returns:
        `[num_resamples, num_columns]`.
    """
    num_queries = len(values)
    generator = np.random.default_rng(seed)
    sums = np.zeros((num_resamples, values.shape[1]))
    size = max(1, _CHUNK_NUMBERS // max(num_queries, 1))
    for start in range(0, num_resamples, size):
        count = min(size, num_resamples - start)
        drawn = generator.integers(0, num_queries, size=(count, num_queries))
        drawn += np.arange(count)[:, None] * num_queries
        weights = np.bincount(drawn.ravel(), minlength=count * num_queries)
        sums[start : start + count] = weights.reshape(count, num_queries).astype(float) @ values
    return sums


def mean_intervals(
    values: NDArray[np.float64], num_resamples: int, seed: int
) -> NDArray[np.float64]:
    """95 % intervals of the column means.

    Args:
        values: `[num_queries, num_columns]`, at least one query.
        num_resamples: resamples of the bootstrap.
        seed: of the draws.

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
