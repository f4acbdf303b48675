"""Plans what a refresh does to each candidate (keep, embed, withdraw), and embeds new ones."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.graph.release import HashArray
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.errors import BundleError, EmbeddingError
from tfrs_twotower.ranking import FloatArray, RowArray
from tfrs_twotower.towers.embedding import unusable
from tfrs_twotower.towers.tower import Tower

_BATCH_SIZE = 512
RawColumns = dict[str, npt.NDArray[Any]]


class EncodedCandidates(NamedTuple):
    """The output of a candidate tower."""

    vectors: FloatArray
    """`[n, embedding_dim]`."""
    heads: FloatArray | None
    """`[n, num_candidate_heads, head_dim]`; None unless the tower is an IntTower's."""


def encode_candidates(tower: Tower, raw: RawColumns) -> EncodedCandidates:
    """Runs a candidate tower over raw features.

    Args:
        tower: a candidate tower.
        raw: raw features by name, `[n]` or `[n, width]`; n is at least 1.

    Raises:
        EmbeddingError: a vector is not finite, or has norm zero.
    """
    count = len(next(iter(raw.values())))
    vectors, heads = [], []
    for start in range(0, count, _BATCH_SIZE):
        part = {
            name: tf.constant(values[start : start + _BATCH_SIZE]) for name, values in raw.items()
        }
        output = tower.encode(tower.inputs(part))
        vectors.append(output.embedding.numpy())
        if output.heads is not None:
            heads.append(output.heads.numpy())
    joined = np.concatenate(vectors)
    bad = int(unusable(joined, unit_length=tower.unit_length).sum())
    if bad:
        raise EmbeddingError(
            f"refresh: {bad} of {count} embeddings are NaN, infinite or of norm zero. Look for "
            "extreme numbers among the given candidates' features."
        )
    return EncodedCandidates(joined, np.concatenate(heads) if heads else None)


@dataclass(frozen=True)
class CorpusChanges:
    """The new corpus in row order, which is that of the ids as UTF-8 bytes."""

    ids: list[str]
    kept_rows: RowArray
    """`[num_candidates]` rows in the earlier corpus; -1 for a new candidate."""
    given_rows: RowArray
    """`[num_candidates]` rows among the given candidates; -1 for one that was not given."""
    hashes: HashArray
    """`[num_candidates, 16]` hashes of the candidates' features."""
    to_embed: RowArray
    """Rows of new candidates and of candidates whose features changed, ascending."""
    retitled: RowArray
    """Rows of candidates of which only the title changed, ascending."""
    num_withdrawn: int
    """Number of candidates of the earlier corpus that are gone."""
    unknown: list[str]
    """Withdrawn ids that the earlier corpus does not have, ascending."""

    @property
    def num_added(self) -> int:
        """Number of candidates that the earlier corpus did not have."""
        return int((self.kept_rows < 0).sum())

    @property
    def num_changed(self) -> int:
        """Number of candidates that had other features or another title in the earlier corpus."""
        return len(self.to_embed) - self.num_added + len(self.retitled)

    @property
    def nothing(self) -> bool:
        """Whether the new corpus is the earlier one."""
        return not (self.num_added or self.num_changed or self.num_withdrawn)

    def columns(self, kept: RawColumns, given: RawColumns) -> RawColumns:
        """Columns of the new corpus: the given value of a candidate, or else the kept one.

        Args:
            kept: columns of the earlier corpus, `[num_kept]` or `[num_kept, width]`.
            given: columns of the given candidates, at least the same.
        """
        is_given = self.given_rows >= 0
        columns = {name: values[self.kept_rows] for name, values in kept.items()}
        if is_given.any():
            for name, values in columns.items():
                values[is_given] = given[name][self.given_rows[is_given]]
        return columns


def plan_changes(
    kept: Corpus,
    kept_hashes: HashArray,
    given: Corpus,
    given_hashes: HashArray,
    withdrawn: Collection[str],
    *,
    replace: bool,
) -> CorpusChanges:
    """Joins the earlier corpus with the given candidates.

    Args:
        kept: the earlier corpus.
        kept_hashes: `[num_kept, 16]` hashes of its features.
        given: new, changed or unchanged candidates.
        given_hashes: `[num_given, 16]` hashes of their features.
        withdrawn: ids that leave the corpus.
        replace: whether candidates that are not given leave the corpus too.

    Raises:
        BundleError: a candidate is both given and withdrawn, or no candidate is left.
    """
    given_row_of = {id_: row for row, id_ in enumerate(given.ids)}
    kept_row_of = {id_: row for row, id_ in enumerate(kept.ids)}
    both = sorted(given_row_of.keys() & set(withdrawn))
    if both:
        raise BundleError(
            f"refresh: {len(both)} candidates are both given and withdrawn, such as {both[0]!r}. "
            "Leave each in one of the two files."
        )
    remaining = given_row_of if replace else {**kept_row_of, **given_row_of}
    ids = sorted(remaining.keys() - set(withdrawn), key=str.encode)
    if not ids:
        raise BundleError("refresh: no candidate would be left. Give at least one.")
    kept_rows = np.array([kept_row_of.get(id_, -1) for id_ in ids], np.int64)
    given_rows = np.array([given_row_of.get(id_, -1) for id_ in ids], np.int64)
    is_given, is_new = given_rows >= 0, kept_rows < 0
    hashes = np.where(
        is_given[:, None], _rows(given_hashes, given_rows), _rows(kept_hashes, kept_rows)
    )
    changed = (_rows(kept_hashes, kept_rows) != hashes).any(axis=1)
    in_both = is_given & ~is_new & ~changed
    retitled = np.flatnonzero(in_both)[
        given.titles[given_rows[in_both]] != kept.titles[kept_rows[in_both]]
    ]
    return CorpusChanges(
        ids,
        kept_rows,
        given_rows,
        hashes,
        np.flatnonzero(is_new | changed),
        retitled,
        len(kept_row_of) - int((~is_new).sum()),
        sorted(set(withdrawn) - kept_row_of.keys()),
    )


def _rows(hashes: HashArray, rows: RowArray) -> HashArray:
    """The hashes at these rows; zeros where a row is -1."""
    padded = np.concatenate([hashes, np.zeros((1, hashes.shape[1]), np.uint8)])
    return padded[rows]
