"""A system's ranking of the test queries, judged, and its figures with intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation.confidence import mean_intervals, ratio_interval
from tfrs_twotower.evaluation.inputs import EvaluationInputs
from tfrs_twotower.evaluation.key_metrics import all_metrics
from tfrs_twotower.metrics import Judged, coverage, per_query, popularity_lift


@dataclass(frozen=True)
class SystemRun:
    """What one system returned.

    Attributes:
        name: such as `retrieval` or `ease`.
        ranked: `[num_queries, K]` rows.
        judged: the ranking against the ground truth.
    """

    name: str
    ranked: NDArray[np.int64]
    judged: Judged


def figure(mean: float, interval: NDArray[np.float64], queries: int) -> dict[str, Any]:
    """One entry of `metrics`: mean, 95 % interval, and over how many queries."""
    return {
        "mean": float(mean),
        "ci95": [float(interval[0]), float(interval[1])],
        "queries": int(queries),
    }


def figures_of(
    judged: Judged, names: tuple[str, ...], num_bootstrap: int, seed: int
) -> dict[str, dict[str, Any]]:
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
) -> dict[str, dict[str, Any]]:
    """All metrics of one system.

    `coverage@K` describes this very set of lists, not a mean over sampled queries: its interval
    is the value itself. `popularity_lift@K` is over the queries that have a profile, and is left
    out where none has.
    """
    metrics = figures_of(run.judged, all_metrics(ks), num_bootstrap, seed)
    popularity = inputs.corpus.count.astype(np.float64)
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
