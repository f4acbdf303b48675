"""The model's retrieval stage against each baseline, metric by metric."""

from typing import Any

import numpy as np

from tfrs_twotower.evaluation.confidence import mean_intervals
from tfrs_twotower.evaluation.significance import ALPHA, holm, paired_randomisation, paired_t_test
from tfrs_twotower.evaluation.systems import SystemRun
from tfrs_twotower.metrics import per_query


def compare(
    subject: SystemRun,
    others: list[SystemRun],
    metrics: tuple[str, ...],
    *,
    num_resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Paired differences over the same queries.

    The family that Holm's correction covers is the whole list: every other system times every
    metric. `p` is the randomisation test's, `p_holm` the corrected one that `significant` looks
    at, `p_t_test` the paired t-test's, for those who prefer it.

    Returns:
        One entry for each other system and metric: difference = subject - other.
    """
    pairs = [(other, metric) for other in others for metric in metrics]
    if not pairs or len(subject.judged) == 0:
        return []
    own = {metric: per_query(metric, subject.judged) for metric in metrics}
    differences = np.stack(
        [own[metric] - per_query(metric, other.judged) for other, metric in pairs], axis=1
    )
    p = paired_randomisation(differences, num_resamples, seed)
    corrected = holm(p)
    student = paired_t_test(differences)
    intervals = mean_intervals(differences, num_resamples, seed)
    return [
        {
            "a": subject.name,
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
        for place, (other, metric) in enumerate(pairs)
    ]
