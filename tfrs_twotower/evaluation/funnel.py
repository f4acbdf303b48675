"""What each stage of serving keeps: exact retrieval, the index's approximation, the cascade."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation.confidence import mean_intervals, ratio_interval
from tfrs_twotower.evaluation.inputs import SecondStage
from tfrs_twotower.evaluation.systems import figure
from tfrs_twotower.metrics import Judged, recall


def funnel(
    retrieval: dict[str, Any],
    cascade: dict[str, Any],
    index_quality: dict[str, Any] | None,
    default_k: int,
    pool: dict[str, Any] | None,
) -> dict[str, Any]:
    """The funnel of the report.

    Args:
        retrieval: metrics of exact search over the full corpus.
        cascade: metrics of what is served at the end.
        index_quality: `quality.json` of the index; None where there is none.
        default_k: list length to name where there is no index.
        pool: `pool_facts`; None where nothing ranks after retrieval.

    Returns:
        `retrieval_exact`, `ann_overlap@k` (None where there is no index), `pool`, `cascade`.
    """
    quality = index_quality or {}
    k = int(quality.get("k") or default_k)
    overlap = quality.get("overlap")
    return {
        "retrieval_exact": retrieval,
        f"ann_overlap@{k}": None if overlap is None else float(overlap),
        "pool": pool,
        "cascade": cascade,
    }


def pool_facts(
    held: NDArray[np.float64],
    second_stage: SecondStage,
    stages: dict[str, Judged],
    ks: tuple[int, ...],
    num_bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """What retrieval hands to the second stage, and what of it comes through.

    Args:
        held: `[num_queries]` share of the relevant candidates that the pool holds.
        second_stage: what scores the pool again.
        stages: rankings whose first K are looked at: `retrieval`, `cascade`.
        ks: list lengths; those that hold the whole pool are left out.
        num_bootstrap: resamples of the intervals.
        seed: of the resamples.

    Returns:
        `num_candidates`; `recall@num_candidates`, the ceiling of the cascade; `weights`; and for
        each stage `kept`, recall@K over that ceiling, so that recall@K = ceiling x kept@K.
    """
    size = second_stage.num_candidates
    ceiling = mean_intervals(held[:, None], num_bootstrap, seed)[:, 0]
    kept: dict[str, dict[str, Any]] = {name: {} for name in stages}
    for name, judged in stages.items():
        for k in (k for k in ks if k < size and held.any()):
            found = recall(judged, k)
            interval = ratio_interval(found, held, num_bootstrap, seed)
            kept[name][f"kept@{k}"] = figure(found.mean() / held.mean(), interval, len(held))
    return {
        "num_candidates": size,
        f"recall@{size}": figure(held.mean(), ceiling, len(held)),
        "weights": second_stage.weights,
        "kept": kept,
    }
