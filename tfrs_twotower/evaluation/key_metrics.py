"""Which of the many figures decide: in tuning, slices, comparisons."""

from tfrs_twotower.metrics import RANKING_METRICS


def all_metrics(ks: tuple[int, ...]) -> tuple[str, ...]:
    """Every ranking metric at every list length: `recall@10`, `recall@20`, ..."""
    return tuple(f"{name}@{k}" for name in RANKING_METRICS for k in sorted(ks))


def key_metrics(ks: tuple[int, ...]) -> tuple[str, ...]:
    """The nDCG of the shortest list, and recall of the longer ones (of the only one, if so).

    With ks 10, 20, 100 they are ndcg@10, recall@20, recall@100.
    """
    shortest, *longer = sorted(ks)
    return (f"ndcg@{shortest}", *(f"recall@{k}" for k in longer or [shortest]))


def tuning_metrics(ks: tuple[int, ...]) -> tuple[str, ...]:
    """The nDCG of the shortest list and recall of the longest: their sum decides on validation."""
    return (f"ndcg@{min(ks)}", f"recall@{max(ks)}")
