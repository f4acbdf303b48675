"""Lists of rows of unequal length, stored flat."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
    keys = np.unique(query_rows.astype(np.int64) * num_candidates + candidate_rows)
    lengths = np.bincount(keys // num_candidates, minlength=num_queries)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), keys % num_candidates
