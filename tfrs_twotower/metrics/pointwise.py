"""Metrics of single scores: log loss of probabilities, area under the ROC curve."""

import numpy as np
from numpy.typing import NDArray

CLIP = 1e-7


def log_loss(
    labels: NDArray[np.generic], probabilities: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Returns -(y log p + (1 - y) log(1 - p)), with p clipped to [1e-7, 1 - 1e-7].

    Args:
        labels: `[num_records]`, each 0 or 1.
        probabilities: `[num_records]`, each in [0, 1].

    Returns:
        `[num_records]`; its mean is the log loss.

    Raises:
        ValueError: a probability is outside [0, 1], as scores usually are.
    """
    p = np.asarray(probabilities, np.float64)
    if p.size and not (p.min() >= 0.0 and p.max() <= 1.0):
        raise ValueError(
            f"probabilities range from {p.min()} to {p.max()}; they must lie in [0, 1]: "
            "calibrate scores first"
        )
    p = np.clip(p, CLIP, 1.0 - CLIP)
    y = np.asarray(labels, np.float64)
    return -(y * np.log(p) + (1.0 - y) * np.log1p(-p))


def auc(labels: NDArray[np.generic], scores: NDArray[np.floating]) -> float:
    """Returns P(score of a positive > score of a negative) + P(tie) / 2 (Mann-Whitney).

    Args:
        labels: `[num_records]`; above 0 is positive.
        scores: `[num_records]`.

    Returns:
        A number in [0, 1], or NaN if one of the classes is empty.
    """
    positive = np.asarray(labels) > 0
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if num_positive == 0 or num_negative == 0:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    average_rank = np.cumsum(counts) - (counts - 1) / 2.0
    rank_sum = float(average_rank[inverse][positive].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2.0) / (num_positive * num_negative)


def gauc(
    query_codes: NDArray[np.integer],
    labels: NDArray[np.generic],
    scores: NDArray[np.floating],
    *,
    weighted: bool = True,
) -> tuple[float, float]:
    """Averages the AUC over the queries that have both classes (Zhu et al. 2017).

    Args:
        query_codes: `[num_records]`, the query of each record.
        labels: `[num_records]`; above 0 is positive.
        scores: `[num_records]`.
        weighted: whether the weight of a query is its number of records; otherwise it is 1.

    Returns:
        The average (NaN if no query has both classes), and the share of queries left out.
    """
    order = np.argsort(query_codes, kind="stable")
    codes, starts = np.unique(np.asarray(query_codes)[order], return_index=True)
    total, weight_sum, left_out = 0.0, 0.0, 0
    for records in np.split(order, starts[1:]):
        if not len(records):
            continue
        value = auc(np.asarray(labels)[records], scores[records])
        if np.isnan(value):
            left_out += 1
            continue
        weight = float(len(records)) if weighted else 1.0
        total += weight * value
        weight_sum += weight
    average = total / weight_sum if weight_sum else float("nan")
    return average, left_out / max(len(codes), 1)
