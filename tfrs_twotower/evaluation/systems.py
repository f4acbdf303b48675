"""Evaluated systems: intervals and tests over queries, the figures of a system, comparisons."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tfrs_twotower.evaluation import evaluated_data, evaluation_document
from tfrs_twotower.metrics import RANKING_METRICS, Judged, coverage, per_query, popularity_lift

ALPHA = 0.05
"""A corrected p below this is significant."""
LEVEL = 0.95
"""Coverage of the intervals."""
_DRAWS_AT_ONCE = 8_000_000


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
    num_queries = len(values)
    generator = np.random.default_rng(seed)
    sums = np.zeros((num_resamples, values.shape[1]))
    for start, count in _chunks(num_resamples, num_queries):
        drawn = generator.integers(0, num_queries, size=(count, num_queries))
        drawn += np.arange(count)[:, None] * num_queries
        weights = np.bincount(drawn.ravel(), minlength=count * num_queries)
        sums[start : start + count] = weights.reshape(count, num_queries).astype(float) @ values
    return sums


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
        p = stats.ttest_1samp(differences, 0.0).pvalue
    return np.where(np.isnan(p), 1.0, p)


def paired_randomisation(
    differences: NDArray[np.float64], num_permutations: int, seed: int
) -> NDArray[np.float64]:
    """Two-sided p of Fisher's paired randomisation test: the signs are flipped at random.

    p = (1 + flips with |mean| >= the observed one) / (1 + flips), so it is never 0.

    Args:
        differences: `[num_queries, num_pairs]`.
        num_permutations: number of times that the signs are flipped.
        seed: seed of the flips.

    Returns:
        `[num_pairs]`.
    """
    num_queries = len(differences)
    generator = np.random.default_rng(seed)
    observed = np.abs(differences.sum(axis=0))
    # Sums of the same numbers in another order differ in the last bits.
    threshold = observed - 1e-9 * np.maximum(1.0, np.abs(differences).sum(axis=0))
    reached = np.zeros(differences.shape[1])
    for _, count in _chunks(num_permutations, num_queries):
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


@dataclass(frozen=True)
class SystemRun:
    """The rankings of one system.

    Attributes:
        name: name of the system, such as `retrieval` or `ease`.
        ranked: `[num_queries, K]` rows.
        judged: the ranking, judged by the ground truth.
    """

    name: str
    ranked: NDArray[np.int64]
    judged: Judged


def key_metrics(ks: tuple[int, ...]) -> tuple[str, ...]:
    """The metrics of slices, comparisons and leaderboards.

    They are the nDCG of the shortest list and the recall of the longer ones, or of the only one:
    for ks 10, 20, 100 they are ndcg@10, recall@20, recall@100.
    """
    shortest, *longer = sorted(ks)
    return (f"ndcg@{shortest}", *(f"recall@{k}" for k in longer or [shortest]))


def tuning_metrics(ks: tuple[int, ...]) -> tuple[str, ...]:
    """The nDCG of the shortest list and the recall of the longest; their sum decides on tuning."""
    return (f"ndcg@{min(ks)}", f"recall@{max(ks)}")


def figure(mean: float, interval: NDArray[np.float64], queries: int) -> evaluation_document.Figure:
    """A mean with its 95 % interval, `[2]`."""
    low, high = (float(end) for end in interval)
    return evaluation_document.Figure(mean=float(mean), ci95=(low, high), queries=queries)


def figures_of(
    judged: Judged, names: tuple[str, ...], num_bootstrap: int, seed: int
) -> evaluation_document.Metrics:
    """The named ranking metrics of a judged ranking; empty without queries."""
    if len(judged) == 0:
        return {}
    values = np.stack([per_query(name, judged) for name in names], axis=1)
    intervals = mean_intervals(values, num_bootstrap, seed)
    return {
        name: figure(values[:, place].mean(), intervals[:, place], len(judged))
        for place, name in enumerate(names)
    }


def system_metrics(
    run: SystemRun,
    inputs: evaluated_data.EvaluationInputs,
    ks: tuple[int, ...],
    num_bootstrap: int,
    seed: int,
) -> evaluation_document.Metrics:
    """Every metric of one system at every list length.

    `coverage@K` describes these lists and is not a mean over sampled queries: its interval is its
    value. `popularity_lift@K` is over the queries that have a profile, and is left out if there
    are none.
    """
    names = tuple(f"{name}@{k}" for name in RANKING_METRICS for k in sorted(ks))
    metrics = figures_of(run.judged, names, num_bootstrap, seed)
    popularity = inputs.counts.astype(np.float64)
    for k in sorted(ks):
        covered = coverage(run.ranked, k, int(inputs.eligible.sum()))
        metrics[f"coverage@{k}"] = figure(covered, np.array([covered, covered]), len(run.ranked))
        shown, chosen = popularity_lift(run.ranked, k, inputs.test.seen, popularity)
        known = ~np.isnan(shown)
        if chosen[known].sum() > 0:
            lift = shown[known].mean() / chosen[known].mean() - 1.0
            interval = ratio_interval(shown[known], chosen[known], num_bootstrap, seed) - 1.0
            metrics[f"popularity_lift@{k}"] = figure(lift, interval, int(known.sum()))
    return metrics


def compare(
    stages: list[SystemRun],
    baselines: list[SystemRun],
    metrics: tuple[str, ...],
    *,
    num_resamples: int,
    seed: int,
) -> tuple[evaluation_document.PairedComparison, ...]:
    """Tests paired differences over the same queries.

    Every stage is compared with the stages after it and with every baseline, in every metric.
    Holm's correction covers all these comparisons as one family.

    Args:
        stages: stages of the model, the served one first: `cascade`, `retrieval`.
        baselines: the other systems.
        metrics: names such as `recall@20`.
        num_resamples: number of resamples of the tests and intervals.
        seed: seed of the resamples.

    Returns:
        One entry for each pair and metric: difference = a - b.
    """
    pairs = [
        (stage, other, metric)
        for place, stage in enumerate(stages)
        for other in (*stages[place + 1 :], *baselines)
        for metric in metrics
    ]
    if not pairs or len(stages[0].judged) == 0:
        return ()
    values = {
        (run.name, metric): per_query(metric, run.judged)
        for run in (*stages, *baselines)
        for metric in metrics
    }
    differences = np.stack(
        [values[stage.name, metric] - values[other.name, metric] for stage, other, metric in pairs],
        axis=1,
    )
    p = paired_randomisation(differences, num_resamples, seed)
    corrected = holm(p)
    p_t_test = paired_t_test(differences)
    low, high = mean_intervals(differences, num_resamples, seed)
    return tuple(
        evaluation_document.PairedComparison(
            a=stage.name,
            b=other.name,
            metric=metric,
            difference=float(differences[:, place].mean()),
            ci95=(float(low[place]), float(high[place])),
            p=float(p[place]),
            p_holm=float(corrected[place]),
            p_t_test=float(p_t_test[place]),
            significant=bool(corrected[place] < ALPHA),
            test="paired randomisation over queries, two-sided",
        )
        for place, (stage, other, metric) in enumerate(pairs)
    )
