"""Systems: their judged rankings, their figures with intervals, and how they compare in pairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation.evaluated_data import EvaluationInputs
from tfrs_twotower.evaluation.evaluation_document import Figure, Metrics, PairedComparison
from tfrs_twotower.evaluation.significance import (
    ALPHA,
    holm,
    mean_intervals,
    paired_randomisation,
    paired_t_test,
    ratio_interval,
)
from tfrs_twotower.metrics import RANKING_METRICS, Judged, coverage, per_query, popularity_lift


@dataclass(frozen=True)
class SystemRun:
    """The lists of one system.

    Attributes:
        name: such as `retrieval` or `ease`.
        ranked: `[num_queries, K]` rows.
        judged: the ranking against the ground truth.
    """

    name: str
    ranked: NDArray[np.int64]
    judged: Judged


def key_metrics(ks: tuple[int, ...]) -> tuple[str, ...]:
    """The metrics of slices, comparisons and leaderboards.

    They are the nDCG of the shortest list and the recall of the longer ones (of the only one, if
    there is one): with ks 10, 20, 100 they are ndcg@10, recall@20, recall@100.
    """
    shortest, *longer = sorted(ks)
    return (f"ndcg@{shortest}", *(f"recall@{k}" for k in longer or [shortest]))


def tuning_metrics(ks: tuple[int, ...]) -> tuple[str, ...]:
    """The nDCG of the shortest list and recall of the longest: their sum decides on validation."""
    return (f"ndcg@{min(ks)}", f"recall@{max(ks)}")


def figure(mean: float, interval: NDArray[np.float64], queries: int) -> Figure:
    """A mean with its 95 % interval, `[2]`."""
    low, high = (float(end) for end in interval)
    return Figure(mean=float(mean), ci95=(low, high), queries=queries)


def figures_of(judged: Judged, names: tuple[str, ...], num_bootstrap: int, seed: int) -> Metrics:
    """The named ranking metrics of a judged ranking; empty where there is no query."""
    if len(judged) == 0:
        return {}
    values = np.stack([per_query(name, judged) for name in names], axis=1)
    intervals = mean_intervals(values, num_bootstrap, seed)
    return {
        name: figure(values[:, place].mean(), intervals[:, place], len(judged))
        for place, name in enumerate(names)
    }


def system_metrics(
    run: SystemRun, inputs: EvaluationInputs, ks: tuple[int, ...], num_bootstrap: int, seed: int
) -> Metrics:
    """Every metric of one system at every list length.

    `coverage@K` describes these very lists and is not a mean over sampled queries: its interval
    is its value. `popularity_lift@K` is over the queries that have a profile, and is left out
    where none has.
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
) -> tuple[PairedComparison, ...]:
    """Paired differences over the same queries.

    Every stage is compared with the stages after it and with every baseline, in every metric.
    This whole list is the family that Holm's correction covers.

    Args:
        stages: of the model, the served one first: `cascade`, `retrieval`.
        baselines: the other systems.
        metrics: names such as `recall@20`.
        num_resamples: of the tests and intervals.
        seed: of the resamples.

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
    reached = {
        (run.name, metric): per_query(metric, run.judged)
        for run in (*stages, *baselines)
        for metric in metrics
    }
    differences = np.stack(
        [
            reached[stage.name, metric] - reached[other.name, metric]
            for stage, other, metric in pairs
        ],
        axis=1,
    )
    p = paired_randomisation(differences, num_resamples, seed)
    corrected = holm(p)
    p_t_test = paired_t_test(differences)
    low, high = mean_intervals(differences, num_resamples, seed)
    return tuple(
        PairedComparison(
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
