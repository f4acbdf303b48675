"""The same list for everybody: what was chosen most, over all time or lately."""

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.evaluation.inputs import InteractionLog

SECONDS_PER_DAY = 86_400


class PopularityScorer:
    """One score for each candidate, whoever asks."""

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self._counts = counts.astype(np.float32)

    def __call__(self, queries: NDArray[np.int64]) -> NDArray[np.floating]:
        """Scores, `[len(queries), num_candidates]`."""
        return np.broadcast_to(self._counts, (len(queries), len(self._counts)))


def interaction_counts(
    log: InteractionLog, chosen: NDArray[np.bool_], num_candidates: int, *, distinct: bool
) -> NDArray[np.int64]:
    """`[num_candidates]`: chosen interactions of each candidate.

    Args:
        log: all interactions.
        chosen: `[num_interactions]` which of them count.
        num_candidates: size of the corpus.
        distinct: counts queries instead of events. Where only new pairs are relevant, repeats of
            the same query say nothing about who will choose the candidate for the first time.
    """
    rows = log.candidate[chosen]
    if distinct:
        rows = np.unique(log.query[chosen] * num_candidates + rows) % num_candidates
    return np.bincount(rows, minlength=num_candidates)


def recent(log: InteractionLog, chosen: NDArray[np.bool_], recent_days: float) -> NDArray[np.bool_]:
    """`[num_interactions]`: the chosen interactions of the last days before the latest of them."""
    if not chosen.any():
        return chosen
    end = int(log.timestamp[chosen].max())
    return chosen & (log.timestamp > end - recent_days * SECONDS_PER_DAY)
