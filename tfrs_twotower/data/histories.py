"""Histories as pointers into the events of queries; only those of a batch are written out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.ranking.sorting import order_by

_MOST_AT_ONCE = 1 << 22  # events that one step looks at, which bounds its memory


def backwards(
    ends: NDArray[np.integer], lengths: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The `lengths[i]` events before `ends[i]`, most recent first, for all i one after the other.

    Returns:
        `[sum(lengths)]` each: events, i, and how many events of i are more recent.
    """
    owners = np.repeat(np.arange(len(ends)), lengths)
    ages = np.arange(len(owners)) - (np.cumsum(lengths, dtype=np.int64) - lengths)[owners]
    return ends[owners] - 1 - ages, owners, ages


def until_repeat(query: NDArray[np.integer], candidate: NDArray[np.integer]) -> NDArray[np.int32]:
    """Events until the same query has the same candidate again, 0 for never.

    Args:
        query: `[num_events]`, ascending.
        candidate: `[num_events]`, in the order of time within a query.
    """
    pairs = order_by(query, candidate)
    again = query[pairs[1:]] == query[pairs[:-1]]
    again &= candidate[pairs[1:]] == candidate[pairs[:-1]]
    until = np.zeros(len(query), np.int32)
    until[pairs[:-1][again]] = (pairs[1:] - pairs[:-1])[again]
    return until


def visible(
    until_repeat: NDArray[np.integer], events: NDArray[np.int64], ends: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Whether no later event before the end has the same candidate."""
    until = until_repeat[events]
    return (until == 0) | (events + until >= ends)


def _rank(shown: NDArray[np.bool_], ages: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the events that are shown, of the same owner, are more recent."""
    before = np.concatenate([[0], np.cumsum(shown)])[:-1]
    return before - before[np.arange(len(ages)) - ages]


def lengths_to_scan(
    until_repeat: NDArray[np.int32],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    most: int,
) -> NDArray[np.int32]:
    """How many events before each end hold its `most` most recent candidates.

    Args:
        until_repeat: `[num_events]` events until the same candidate comes again, 0 for never.
        begins: `[n]` first events of the queries.
        ends: `[n]` events before which the histories end.
        most: number of distinct candidates that a history has at most.

    Returns:
        `[n]`; all events of the query if they have no more than `most` candidates.
    """
    available = ends - begins
    lengths, window = np.minimum(available, most), most
    repeats_before = np.concatenate([[0], np.cumsum(until_repeat > 0)])
    has_repeats = repeats_before[ends] > repeats_before[begins]
    left = np.flatnonzero((available > most) & has_repeats)
    while len(left):
        window *= 2
        found = []
        for rows in np.array_split(left, len(left) * window // _MOST_AT_ONCE + 1):
            scanned = np.minimum(available[rows], window)
            events, owners, ages = backwards(ends[rows], scanned)
            shown = visible(until_repeat, events, ends[rows][owners])
            last = np.flatnonzero(shown & (_rank(shown, ages) == most - 1))
            lengths[rows] = scanned
            lengths[rows[owners[last]]] = ages[last] + 1
            longer = rows[scanned < available[rows]]
            found.append(np.setdiff1d(longer, rows[owners[last]]))
        left = np.concatenate(found)
    return lengths.astype(np.int32)


@dataclass(frozen=True)
class Histories:
    """A history of all examples; `self[positions]` writes out the tokens of some.

    Attributes:
        events: `[num_events]` corpus rows, by query and in the order of time.
        until_repeat: `[num_events]` events until the same candidate comes again, 0 for never; None
            if no query has one twice.
        ends: `[num_examples]` positions in `events` before which the histories end.
        lengths: `[num_examples]` events before the end that hold the history.
        left_out: `[num_examples]` corpus rows that each history leaves out; None leaves out none.
        tokens: `[num_candidates]` token of each corpus row.
        width: largest number of candidates in a history.
    """

    events: NDArray[np.integer]
    until_repeat: NDArray[np.integer] | None
    ends: NDArray[np.integer]
    lengths: NDArray[np.integer]
    left_out: NDArray[np.integer] | None
    tokens: NDArray[np.int32]
    width: int

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the tokens of all examples."""
        return len(self), self.width

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, without the tokens of the corpus."""
        repeats = 0 if self.until_repeat is None else self.until_repeat.nbytes
        return int(self.events.nbytes + repeats + self.ends.nbytes + self.lengths.nbytes)

    def __getitem__(self, positions: slice | NDArray[np.integer]) -> NDArray[np.int32]:
        """Tokens `[len(positions), width]`, the most recent first, 0 is padding."""
        ends, lengths = self.ends[positions], self.lengths[positions]
        if self.until_repeat is None and self.left_out is None:
            ages = np.arange(self.width, dtype=ends.dtype)
            inside = ages < lengths[:, None]
            # What lies outside of a history is replaced by padding.
            rows = np.append(self.events[:0], 0) if not len(self.events) else self.events
            chosen = rows[np.where(inside, ends[:, None] - 1 - ages, 0)]
            return np.where(inside, self.tokens[chosen], np.int32(0))
        events, owners, ages = backwards(ends, lengths)
        rows = self.events[events]
        shown = np.ones(len(events), bool)
        if self.until_repeat is not None:
            shown = visible(self.until_repeat, events, ends[owners])
        if self.left_out is not None:
            shown &= rows != self.left_out[positions][owners]
        place = _rank(shown, ages)
        shown &= place < self.width
        written = np.zeros((len(ends), self.width), np.int32)
        written[owners[shown], place[shown]] = self.tokens[rows[shown]]
        return written

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.int32]:
        """Tokens of all examples, written out."""
        del copy
        return self[:].astype(dtype or np.int32, copy=False)


def joined(first: Histories, second: Histories) -> Histories:
    """The histories of two tables, one after the other."""
    left_out = None
    if first.left_out is not None and second.left_out is not None:
        left_out = np.concatenate([first.left_out, second.left_out])
    until_repeat = [
        np.zeros(len(part.events), np.int32) if part.until_repeat is None else part.until_repeat
        for part in (first, second)
    ]
    return Histories(
        np.concatenate([first.events, second.events]),
        np.concatenate(until_repeat) if any(until.any() for until in until_repeat) else None,
        np.concatenate([first.ends, second.ends + len(first.events)]),
        np.concatenate([first.lengths, second.lengths]),
        left_out,
        first.tokens,
        first.width,
    )
