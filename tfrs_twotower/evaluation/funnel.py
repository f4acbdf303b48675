"""What each stage of serving keeps: exact retrieval, the index's approximation, the cascade."""

from typing import Any

from tfrs_twotower.evaluation.confidence import ratio_interval
from tfrs_twotower.evaluation.systems import figure, figures_of
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
    pool: Judged,
    stages: dict[str, Judged],
    weights: dict[str, float],
    ks: tuple[int, ...],
    num_bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """What retrieval hands to the second stage, and what of it comes through.

    Args:
        pool: the retrieved candidates that are scored again.
        stages: rankings whose first K are looked at: `retrieval`, `cascade`.
        weights: of each feature in the final score.
        ks: list lengths; those that hold the whole pool are left out.
        num_bootstrap: resamples of the intervals.
        seed: of the resamples.

    Returns:
        `num_candidates`; `recall@num_candidates`, the ceiling of the cascade; `weights`; and for
        each stage `kept`, recall@K over that ceiling, so that recall@K = ceiling x kept@K.
    """
    size = pool.gains.shape[1]
    ceiling = f"recall@{size}"
    held = recall(pool, size)
    kept: dict[str, dict[str, Any]] = {name: {} for name in stages}
    for name, judged in stages.items():
        for k in (k for k in ks if k < size and held.any()):
            found = recall(judged, k)
            interval = ratio_interval(found, held, num_bootstrap, seed)
            kept[name][f"kept@{k}"] = figure(found.mean() / held.mean(), interval, len(held))
    return {
        "num_candidates": size,
        **figures_of(pool, (ceiling,), num_bootstrap, seed),
        "weights": weights,
        "kept": kept,
    }
