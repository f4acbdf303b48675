"""Histories of many queries at once: the most recent candidates before a moment, each once."""

import numpy as np
from numpy.typing import NDArray

from pipelines.transforms import batches
from tfrs_twotower.data.histories import until_repeat, visible

Numbers = NDArray[np.int64]
_AT_ONCE = 1 << 16


class Stream:
    """The events that histories are cut from, by query and then in the order of time.

    Args:
        query: `[num_events]`, ascending.
        candidate: `[num_events]`.
        num_queries: queries are numbers below this.
    """

    def __init__(self, query: Numbers, candidate: Numbers, num_queries: int) -> None:
        self._candidate, self._until_repeat = candidate, until_repeat(query, candidate)
        self.starts = batches.starts_of(query, num_queries)
        """First event of each query, `[num_queries + 1]`."""

    def histories(self, starts: Numbers, ends: Numbers, length: int) -> tuple[Numbers, Numbers]:
        """The candidates between starts and ends, most recent first, at most `length` of each.

        Args:
            starts: `[n]` first events.
            ends: `[n]` events after the last.
            length: largest number of candidates.

        Returns:
            Where the histories begin in the second array, `[n + 1]`, and their candidates.
        """
        sizes, parts = [np.zeros(1, np.int64)], [np.zeros(0, np.int64)]
        for first in range(0, len(ends), _AT_ONCE):
            rows = slice(first, first + _AT_ONCE)
            size, found = self._some(starts[rows], ends[rows], length)
            sizes.append(size)
            parts.append(found)
        return np.cumsum(np.concatenate(sizes)), np.concatenate(parts)

    def _some(self, starts: Numbers, ends: Numbers, length: int) -> tuple[Numbers, Numbers]:
        """Goes back from all ends together, an event at each step."""
        size = np.zeros(len(ends), np.int64)
        owners, found = [], []
        active = np.flatnonzero(ends > starts)
        at = ends[active] - 1
        while len(active):
            candidate = self._candidate[at]
            shown = visible(self._until_repeat, at, ends[active])
            owners.append(active[shown])
            found.append(candidate[shown])
            size[active[shown]] += 1
            at = at - 1
            goes_on = (at >= starts[active]) & (size[active] < length)
            active, at = active[goes_on], at[goes_on]
        if not owners:
            return size, np.zeros(0, np.int64)
        order = np.argsort(np.concatenate(owners), kind="stable")
        return size, np.concatenate(found)[order]
