"""Whether two systems differ: paired tests over queries, corrected for their number."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

_CHUNK_NUMBERS = 8_000_000
ALPHA = 0.05


def paired_t_test(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two-sided p of Student's paired t-test.

    Args:
        differences: `[num_queries, num_pairs]` of one system minus the other.

    Returns:
        `[num_pairs]`; 1 where all differences are 0 or there are fewer than two queries.
    """
    num_queries = len(differences)
    if num_queries < 2:
        return np.ones(differences.shape[1])
    mean = differences.mean(axis=0)
    error = differences.std(axis=0, ddof=1) / np.sqrt(num_queries)
    t = np.divide(mean, error, out=np.where(mean == 0, 0.0, np.inf), where=error > 0)
    return np.asarray(2.0 * stats.t.sf(np.abs(t), num_queries - 1))


def paired_randomisation(
    differences: NDArray[np.float64], num_permutations: int, seed: int
) -> NDArray[np.float64]:
    """Two-sided p of Fisher's paired randomisation test: the signs are flipped at random.

    p = (1 + flips with |mean| >= the observed one) / (1 + flips), so it is never 0.

    Args:
        differences: `[num_queries, num_pairs]`.
        num_permutations: how often the signs are flipped.
        seed: of the flips.

    Returns:
        `[num_pairs]`.
    """
    num_queries = len(differences)
    generator = np.random.default_rng(seed)
    observed = np.abs(differences.sum(axis=0))
    # Sums of the same numbers in another order differ in the last bits.
    threshold = observed - 1e-9 * np.maximum(1.0, np.abs(differences).sum(axis=0))
    reached = np.zeros(differences.shape[1])
    size = max(1, _CHUNK_NUMBERS // max(num_queries, 1))
    for start in range(0, num_permutations, size):
        count = min(size, num_permutations - start)
        signs = generator.integers(0, 2, size=(count, num_queries), dtype=np.int8) * 2.0 - 1.0
        reached += (np.abs(signs @ differences) >= threshold).sum(axis=0)
    return (1.0 + reached) / (1.0 + num_permutations)


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
