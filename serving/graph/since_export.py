"""What refreshes did to the candidates of an export, and what another export would undo of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tfrs_twotower.artifacts import shard_of
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.ranking import RowArray

ABSENT = b""
"""State of a candidate that a corpus does not have."""


def no_candidates() -> Corpus:
    """A corpus without candidates."""
    return Corpus(np.array([], object), np.array([], object))


def state_of(corpus: Corpus, hashes: npt.NDArray[np.uint8], row: int) -> bytes:
    """What a candidate is in a corpus, as bytes: the hash of its features, and its title.

    Args:
        corpus: the candidates.
        hashes: `[num_candidates, 16]` hashes of their features.
        row: of the candidate; below 0 it is absent.
    """
    return hashes[row].tobytes() + str(corpus.titles[row]).encode() if row >= 0 else ABSENT


@dataclass(frozen=True)
class SinceExport:
    """The candidates that refreshes added, changed or withdrew since the export.

    A candidate that is again as it was exported does not count.
    """

    exported: Mapping[str, bytes] = field(default_factory=dict)
    """By id, the state of each of these candidates in the export."""
    given: Corpus = field(default_factory=no_candidates)
    """Those that were added or changed, as they are now, with raw features."""

    def __len__(self) -> int:
        return len(self.exported)

    @property
    def added(self) -> list[str]:
        """Ids that the export did not have."""
        return [id_ for id_ in self.given.ids if self.exported[id_] == ABSENT]

    @property
    def changed(self) -> list[str]:
        """Ids that the export had with other features or another title."""
        return [id_ for id_ in self.given.ids if self.exported[id_] != ABSENT]

    @property
    def withdrawn(self) -> list[str]:
        """Ids that only the export had, ascending."""
        return sorted(self.exported.keys() - set(self.given.ids))

    def undone_by(self, corpus: Corpus, hashes: npt.NDArray[np.uint8]) -> "SinceExport":
        """The part that a new export would undo.

        It would drop an added candidate that its corpus does not have, bring a withdrawn one back,
        and give a changed one the state that the last export had. A candidate that the new corpus
        has in a third state was changed in the tables since, and those are right.

        Args:
            corpus: that of the new export, with raw features. With other features than before,
                states cannot be compared, and each changed candidate counts as undone.
            hashes: `[num_candidates, 16]` hashes of its features.
        """
        comparable = form_of(self.given.raw) == form_of(corpus.raw)
        added, changed, undone = set(self.added), set(self.changed), set()
        rows = corpus.row_of(self.exported)
        for (id_, exported), row in zip(self.exported.items(), rows, strict=True):
            now = state_of(corpus, hashes, int(row))
            if id_ in added:
                is_undone = now == ABSENT
            elif id_ in changed and comparable:
                is_undone = now == exported
            else:
                is_undone = now != ABSENT
            if is_undone:
                undone.add(id_)
        return self.only(undone)

    def only(self, ids: Collection[str]) -> "SinceExport":
        """The part with these ids."""
        rows = [row for row, id_ in enumerate(self.given.ids) if id_ in ids]
        exported = {id_: state for id_, state in self.exported.items() if id_ in ids}
        return SinceExport(exported, self.given.take(np.array(rows, np.int64)))

    def of_shard(self, shard: int, num_shards: int) -> "SinceExport":
        """The part that concerns one shard."""
        return self.only({id_ for id_ in self.exported if shard_of(id_, num_shards) == shard})

    def __str__(self) -> str:
        """What it means to undo these changes."""
        parts = (
            (self.added, "added candidates go"),
            (self.changed, "changed ones are as before"),
            (self.withdrawn, "withdrawn ones come back"),
        )
        return ", ".join(f"{len(ids):,} {what} (such as {ids[0]!r})" for ids, what in parts if ids)


def form_of(raw: Mapping[str, npt.NDArray[Any]]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Kind and width of raw features; rows can be joined only if they are equal."""
    return {name: (values.dtype.kind, values.shape[1:]) for name, values in raw.items()}


def joined(parts: Collection[SinceExport]) -> SinceExport:
    """The parts of all shards as one."""
    exported = {id_: state for part in parts for id_, state in part.exported.items()}
    return SinceExport(exported, joined_corpora([part.given for part in parts]))


def joined_corpora(corpora: Collection[Corpus]) -> Corpus:
    """Corpora as one, without vectors; of a candidate in several, the last one counts."""
    filled = [corpus for corpus in corpora if len(corpus)]
    if not filled:
        return no_candidates()
    ids = np.concatenate([corpus.ids for corpus in filled])
    last = {id_: row for row, id_ in enumerate(ids)}
    rows: RowArray = np.array([last[id_] for id_ in sorted(last, key=str.encode)], np.int64)
    titles = np.concatenate([corpus.titles for corpus in filled])
    raw = {
        name: np.concatenate([corpus.raw[name] for corpus in filled])[rows]
        for name in filled[0].raw
    }
    return Corpus(ids[rows], titles[rows], raw)
