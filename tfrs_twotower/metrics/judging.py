"""The lookup of a ranking in the ground truth of its queries."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.ranking.ragged import GroundTruth


@dataclass(frozen=True)
class Judged:
    """A ranking with the gain at each rank.

    Attributes:
        gains: `[num_queries, K]` float64, 0 for a candidate that is not relevant.
        num_relevant: `[num_queries]` number of relevant candidates in the ground truth.
        ideal_gains: `[num_queries, K]` the largest gains of the query, descending, padded with 0.
    """

    gains: NDArray[np.float64]
    num_relevant: NDArray[np.int64]
    ideal_gains: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.num_relevant)

    def hits(self, k: int) -> NDArray[np.bool_]:
        """Returns `[num_queries, k]`: whether the candidate at each rank up to k is relevant.

        Raises:
            ValueError: k is not between 1 and the length of the judged lists.
        """
        if not 1 <= k <= self.gains.shape[1]:
            raise ValueError(
                f"k is {k}, but the judged lists have {self.gains.shape[1]} ranks; "
                "rank at least k candidates (pad short lists with -1)"
            )
        return self.gains[:, :k] > 0

    def take(self, queries: NDArray[np.integer]) -> "Judged":
        """Returns the judged rankings of some queries, in the given order."""
        return Judged(self.gains[queries], self.num_relevant[queries], self.ideal_gains[queries])


def judge(ranked: NDArray[np.integer], truth: GroundTruth) -> Judged:
    """Looks up each ranked candidate in the ground truth.

    Args:
        ranked: `[num_queries, K]` rows, best first, padded with -1. No row may occur twice in a
            list.
        truth: ground truth of the same queries, in the same order.

    Raises:
        ValueError: the shapes do not fit, or a list holds a row twice.
    """
    if ranked.ndim != 2 or len(ranked) != len(truth):
        raise ValueError(
            f"ranked has shape {ranked.shape}, the ground truth {len(truth)} queries; "
            "expected [num_queries, K]"
        )
    num_queries, width = ranked.shape
    ordered = np.sort(ranked, axis=1)
    if np.any((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)):
        raise ValueError("a ranked list holds the same row twice; each candidate is ranked once")
    values, owners = truth.relevant.values, truth.relevant.owners
    span = max(int(ranked.max(initial=0)), int(values.max(initial=0))) + 1
    keys = owners * span + values
    order = np.argsort(keys)
    keys, gains = keys[order], truth.gains[order]
    ranked_keys = np.arange(num_queries, dtype=np.int64)[:, None] * span + ranked
    positions = np.minimum(np.searchsorted(keys, ranked_keys), max(len(keys) - 1, 0))
    ranked_gains = np.zeros((num_queries, width))
    if len(keys):
        is_relevant = (keys[positions] == ranked_keys) & (ranked >= 0)
        ranked_gains = np.where(is_relevant, gains[positions], 0.0)
    return Judged(ranked_gains, truth.relevant.lengths, _ideal(truth, width))


def _ideal(truth: GroundTruth, width: int) -> NDArray[np.float64]:
    owners = truth.relevant.owners
    order = np.lexsort((-truth.gains, owners))
    rank = np.arange(len(owners)) - truth.relevant.offsets[:-1][owners]
    kept = rank < width
    ideal = np.zeros((len(truth), width))
    ideal[owners[kept], rank[kept]] = truth.gains[order][kept]
    return ideal
