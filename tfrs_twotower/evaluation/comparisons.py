"""The model's stages against each other and against each baseline, metric by metric."""

from typing import Any

import numpy as np

from tfrs_twotower.evaluation.confidence import mean_intervals
from tfrs_twotower.evaluation.significance import ALPHA, holm, paired_randomisation, paired_t_test
from tfrs_twotower.evaluation.systems import SystemRun
from tfrs_twotower.metrics import per_query


def compare(
    stages: list[SystemRun],
    baselines: list[SystemRun],
    metrics: tuple[str, ...],
    *,
    num_resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Paired differences over the same queries.

    The family that Holm's correction covers is the whole list: every stage against the stages
    before it and every baseline, times every metric. `p` is the randomisation test's, `p_holm` the
    corrected one that `significant` looks at, `p_t_test` the paired t-test's, for those who
    prefer it.

    Args:
        stages: of the model, what is served first: `cascade`, `retrieval`.
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
        return []
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
    student = paired_t_test(differences)
    intervals = mean_intervals(differences, num_resamples, seed)
    return [
        {
            "a": stage.name,
            "b": other.name,
            "metric": metric,
            "difference": float(differences[:, place].mean()),
            "ci95": [float(end) for end in intervals[:, place]],
            "p": float(p[place]),
            "p_holm": float(corrected[place]),
            "p_t_test": float(student[place]),
            "significant": bool(corrected[place] < ALPHA),
            "test": "paired randomisation over queries, two-sided",
        }
        for place, (stage, other, metric) in enumerate(pairs)
    ]
