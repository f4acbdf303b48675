"""Training examples of a transformer over histories, where one history serves many examples."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfrs_twotower.data.training_examples import ExampleTable, Tokens
from tfrs_twotower.layers.history_transformer import PACKED, PackedHistories

_LEAST_CONTEXT = 0.5
_CHUNK = 1 << 16


@dataclass(frozen=True)
class PackedExamples:
    """Examples whose histories are packed; those that share one follow each other in an epoch.

    Attributes:
        table: the examples.
        features: names of the histories that a transformer encodes.
        sources: by feature, `[num_examples]`: the example whose history holds that of this one.
        offsets: by feature, `[num_examples]`: how many more recent events that history has.
    """

    table: ExampleTable
    features: tuple[str, ...]
    sources: dict[str, NDArray[np.int64]]
    offsets: dict[str, NDArray[np.int32]]

    @classmethod
    def of(cls, table: ExampleTable, features: tuple[str, ...]) -> "PackedExamples":
        """Finds for every example a longer history of its query that it is the older part of.

        Args:
            table: the examples.
            features: names of the histories.
        """
        found = {name: shared_histories(table, name) for name in features}
        return cls(
            table,
            features,
            {name: sources for name, (sources, _) in found.items()},
            {name: offsets for name, (_, offsets) in found.items()},
        )

    def __len__(self) -> int:
        return len(self.table)

    @property
    def groups(self) -> NDArray[np.int32]:
        """`[num_examples]` number of the group of each example: its query."""
        return self.table.query_rows

    def batch(self, positions: NDArray[np.integer], step: int) -> dict[str, Any]:
        """The batch of the table, with the packed form of every history beside it."""
        batch = self.table.batch(positions, step)
        for name in self.features:
            batch["tokens"][name + PACKED] = pack(
                self.table.tokens[name],
                self.sources[name][positions],
                self.offsets[name][positions],
            )
        return batch


def shared_histories(
    table: ExampleTable, feature: str
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Finds, for each example, the example whose history holds its own, and where it begins.

    The history of an earlier example of a query is the older part of that of a later one, unless
    the window is `leave_one_out` or an event was repeated; then it stands for itself. Where the
    later history was cut at the largest length, it holds at least half as many events of the
    earlier one, so that a long sequence becomes pieces that overlap.

    Args:
        table: the examples.
        feature: name of the history.

    Returns:
        Positions `[num_examples]` of the examples that lend their history, and `[num_examples]`
        the number of more recent events that these histories have.
    """
    histories = table.tokens[feature]
    chunks = range(0, len(table), _CHUNK)
    lengths = np.concatenate([(histories[at : at + _CHUNK] > 0).sum(axis=1) for at in chunks])
    sources = np.arange(len(table))
    offsets = np.zeros(len(table), np.int32)
    newest_first = np.lexsort((-sources, -lengths, -table.timestamps, table.query_rows))
    query, source, begin = -1, -1, 0
    held: list[int] = []
    # Only the histories of one chunk are written out at a time.
    parts = (newest_first[at : at + _CHUNK] for at in chunks)
    pairs = (zip(part.tolist(), histories[part], strict=True) for part in parts)
    for example, written in chain.from_iterable(pairs):
        own = written[: lengths[example]].tolist()
        if table.query_rows[example] == query:
            offset = _find(own, held, begin, least=_LEAST_CONTEXT * histories.shape[1])
            if offset is not None:
                sources[example], offsets[example], begin = source, offset, offset
                continue
        query, source, begin, held = table.query_rows[example], example, 0, own
    return sources, offsets


def _find(own: list[int], held: list[int], begin: int, *, least: float) -> int | None:
    """The offset, from `begin` on, at which a history holds another one; None if it does not.

    It may hold only the `least` most recent events of it.
    """
    if not own:
        return len(held)
    for offset in range(begin, len(held)):
        older = held[offset:]
        if older == own[: len(older)] and (len(older) == len(own) or len(older) >= least):
            return offset
    return None


def pack(
    histories: Tokens, sources: NDArray[np.integer], offsets: NDArray[np.integer]
) -> PackedHistories:
    """Writes the histories that some examples use into rows, one after the other.

    Args:
        histories: `[num_examples, width]` of the table.
        sources: `[batch]` examples whose histories are used.
        offsets: `[batch]` where an example's own history begins in that history.
    """
    width = histories.shape[1]
    used, which = np.unique(sources, return_inverse=True)
    written = histories[used]
    lengths = (written > 0).sum(axis=1)
    starts = np.zeros(len(used), np.int64)
    row, filled = 0, 0
    for number, length in enumerate(lengths.tolist()):
        if filled + length > width:
            row, filled = row + 1, 0
        starts[number] = row * width + filled
        filled += length
    events = np.zeros((row + 1) * width, np.int32)
    segments = np.zeros((row + 1) * width, np.int32)
    owner = np.repeat(np.arange(len(used)), lengths)
    column = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = starts[owner] + column
    events[places] = written[owner, column]
    segments[places] = owner + 1
    found = starts[which] + offsets
    return PackedHistories(
        events.reshape(-1, width),
        segments.reshape(-1, width),
        np.where(offsets < lengths[which], found, -1).astype(np.int32),
    )
