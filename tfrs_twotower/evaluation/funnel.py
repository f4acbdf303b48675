"""What each stage of serving keeps: exact retrieval, the index's approximation, the cascade."""

from typing import Any


def funnel(
    retrieval: dict[str, Any],
    cascade: dict[str, Any],
    index_quality: dict[str, Any] | None,
    default_k: int,
) -> dict[str, Any]:
    """The funnel of the report.

    Args:
        retrieval: metrics of exact search over the full corpus.
        cascade: metrics of what is served at the end.
        index_quality: `quality.json` of the index; None where there is none.
        default_k: list length to name where there is no index.

    Returns:
        `retrieval_exact`, `ann_overlap@k` (None where there is no index), `cascade`.
    """
    quality = index_quality or {}
    k = int(quality.get("k") or default_k)
    overlap = quality.get("overlap")
    return {
        "retrieval_exact": retrieval,
        f"ann_overlap@{k}": None if overlap is None else float(overlap),
        "cascade": cascade,
    }
