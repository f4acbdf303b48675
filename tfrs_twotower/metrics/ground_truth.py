"""What each query should be answered with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.metrics.ragged import Ragged


@dataclass(frozen=True)
class GroundTruth:
    """Relevant candidates of each query, with gains.

    A gain above 0 is relevant; only `ndcg` looks at how large it is. A query without relevant
    candidates is empty: it must be left out (and counted) before a mean is taken, because its
    metrics are 0 by convention.

    Attributes:
        relevant: rows; no row stands twice for one query.
        gains: `[len(relevant.values)]` float64, all > 0.
    """

    relevant: Ragged
    gains: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.gains.shape != self.relevant.values.shape:
            raise ValueError(
                f"gains has shape {self.gains.shape}, relevant rows {self.relevant.values.shape}; "
                "give one gain for each relevant row"
            )
        if self.gains.size and not float(self.gains.min()) > 0.0:
            raise ValueError(
                f"gains hold {float(self.gains.min())}; every gain must be > 0: "
                "leave out what is not relevant"
            )
        span = int(self.relevant.values.max(initial=0)) + 1
        keys = self.relevant.owners * span + self.relevant.values
        if len(np.unique(keys)) != len(keys):
            raise ValueError("a relevant row stands twice for one query; merge its gains first")

    @classmethod
    def from_lists(
        cls,
        relevant: Sequence[Sequence[int] | NDArray[np.integer]],
        gains: Sequence[Sequence[float] | NDArray[np.floating]] | None = None,
    ) -> "GroundTruth":
        """From one list of rows (and of gains, 1 by default) for each query."""
        rows = Ragged.from_lists(relevant)
        if gains is None:
            flat = np.ones(len(rows.values))
        else:
            flat = np.concatenate([np.zeros(0), *(np.asarray(g, np.float64) for g in gains)])
        return cls(rows, flat)

    def __len__(self) -> int:
        return len(self.relevant)

    def take(self, queries: NDArray[np.integer]) -> "GroundTruth":
        """The ground truth of some queries, in their order."""
        numbers = Ragged(self.relevant.offsets, np.arange(len(self.gains), dtype=np.int64))
        return GroundTruth(self.relevant.take(queries), self.gains[numbers.take(queries).values])

    def where(self, keep: NDArray[np.bool_]) -> "GroundTruth":
        """Without the relevant candidates at which `keep` (`[len(gains)]`) is false."""
        return GroundTruth(self.relevant.where(keep), self.gains[keep])
