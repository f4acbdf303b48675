"""Lists of rows of unequal length, stored flat, and the ground truth made of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.ranking.sorting import distinct


@dataclass(frozen=True)
class Ragged:
    """One list of rows for each query.

    Attributes:
        offsets: `[num_queries + 1]` int64; list i is `values[offsets[i]:offsets[i + 1]]`.
        values: `[offsets[-1]]` int64 rows of the corpus.
    """

    offsets: NDArray[np.int64]
    values: NDArray[np.int64]

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[int] | NDArray[np.integer]]) -> "Ragged":
        """Makes ragged lists from one list for each query."""
        lengths = np.fromiter((len(rows) for rows in lists), np.int64, len(lists))
        values = np.empty(int(lengths.sum()), np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        for start, rows in zip(offsets[:-1], lists, strict=True):
            values[start : start + len(rows)] = rows
        return cls(offsets, values)

    @classmethod
    def of_lengths(cls, lengths: NDArray[np.integer], values: NDArray[np.integer]) -> "Ragged":
        """Makes ragged lists from their lengths and from all values, one list after the other."""
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return cls(offsets, values.astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, query: int) -> NDArray[np.int64]:
        return self.values[self.offsets[query] : self.offsets[query + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """`[num_queries]`: the length of each list."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> NDArray[np.int64]:
        """`[len(values)]`: the query of each value."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def padded(self) -> NDArray[np.int32]:
        """Returns the lists as `[num_queries, longest]`, -1 at the end of a shorter one."""
        inside = np.arange(self.lengths.max(initial=0)) < self.lengths[:, None]
        padded = np.full(inside.shape, -1, np.int32)
        padded[inside] = self.values
        return padded

    def take(self, queries: NDArray[np.integer]) -> "Ragged":
        """Returns the lists of some queries, in the given order."""
        lengths = self.lengths[queries]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        indices = np.arange(offsets[-1]) + np.repeat(self.offsets[queries] - offsets[:-1], lengths)
        return Ragged(offsets, self.values[indices])

    def where(self, keep: NDArray[np.bool_]) -> "Ragged":
        """Leaves out the values where `keep`, `[len(values)]`, is false."""
        kept_before = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
        return Ragged(kept_before[self.offsets], self.values[keep])


@dataclass(frozen=True)
class GroundTruth:
    """Relevant candidates of each query, with gains.

    A gain above 0 means relevant; only `ndcg` uses its size. A query without relevant candidates is
    empty. It must be left out (and counted) before a mean is taken, because its metrics are 0 by
    convention.

    Attributes:
        relevant: rows; no row occurs twice for one query.
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
                "leave out candidates that are not relevant"
            )
        span = int(self.relevant.values.max(initial=0)) + 1
        keys = self.relevant.owners * span + self.relevant.values
        if len(distinct(keys)) != len(keys):
            raise ValueError("a relevant row occurs twice for one query; merge its gains first")

    @classmethod
    def from_lists(
        cls,
        relevant: Sequence[Sequence[int] | NDArray[np.integer]],
        gains: Sequence[Sequence[float] | NDArray[np.floating]] | None = None,
    ) -> "GroundTruth":
        """Makes the ground truth from lists of rows, and of gains (1 by default), of each query."""
        rows = Ragged.from_lists(relevant)
        if gains is None:
            flat = np.ones(len(rows.values))
        else:
            flat = np.concatenate([np.zeros(0), *(np.asarray(g, np.float64) for g in gains)])
        return cls(rows, flat)

    def __len__(self) -> int:
        return len(self.relevant)

    def take(self, queries: NDArray[np.integer]) -> "GroundTruth":
        """Returns the ground truth of some queries, in the given order."""
        numbers = Ragged(self.relevant.offsets, np.arange(len(self.gains), dtype=np.int64))
        return GroundTruth(self.relevant.take(queries), self.gains[numbers.take(queries).values])

    def where(self, keep: NDArray[np.bool_]) -> "GroundTruth":
        """Leaves out the relevant candidates where `keep`, `[len(gains)]`, is false."""
        return GroundTruth(self.relevant.where(keep), self.gains[keep])


def distinct_pairs(
    query_rows: NDArray[np.integer],
    candidate_rows: NDArray[np.integer],
    *,
    num_queries: int,
    num_candidates: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Groups pairs by query; a repeated pair counts once.

    Args:
        query_rows: `[pairs]`, in [0, num_queries).
        candidate_rows: `[pairs]`, in [0, num_candidates).
        num_queries: number of queries.
        num_candidates: size of the corpus.

    Returns:
        Offsets `[num_queries + 1]` into the rows, and candidate rows `[distinct pairs]`, ascending
        for each query.
    """
    keys = distinct(query_rows.astype(np.int64) * num_candidates + candidate_rows)
    lengths = np.bincount(keys // num_candidates, minlength=num_queries)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), keys % num_candidates
