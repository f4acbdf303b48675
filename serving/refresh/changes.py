"""What a refresh does to each candidate (keep, embed, withdraw), and the new ones' vectors."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from serving.graph.release import HashArray
from tfrs_twotower.errors import BundleError, EmbeddingError
from tfrs_twotower.ranking import FloatArray, RowArray
from tfrs_twotower.towers.tower import Tower

_BATCH_SIZE = 512
# Towers return unit vectors; normalising a vector of norm zero cannot make it one.
_LEAST_NORM = 0.5
RawColumns = dict[str, npt.NDArray[Any]]


class EncodedCandidates(NamedTuple):
    """What a candidate tower makes of candidates."""

    vectors: FloatArray
    """`[n, embedding_dim]`, unit length."""
    heads: FloatArray | None
    """`[n, num_candidate_heads, head_dim]` of an IntTower; else None."""


def encode_candidates(tower: Tower, raw: RawColumns) -> EncodedCandidates:
    """Runs a candidate tower over raw features.

    Args:
        tower: of the candidate side.
        raw: `[n]` or `[n, width]` by name, n at least 1.

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
    norms = np.linalg.norm(joined, axis=1)
    bad = int((~(np.isfinite(norms) & (norms >= _LEAST_NORM))).sum())
    if bad:
        raise EmbeddingError(
            f"refresh: {bad} of {count} embeddings are NaN, infinite or of norm zero. Look for "
            "extreme numbers among the given candidates' features."
        )
    return EncodedCandidates(joined, np.concatenate(heads) if heads else None)


@dataclass(frozen=True)
class CorpusChanges:
    """The new corpus, in row order: ids sorted as UTF-8 bytes."""

    ids: list[str]
    kept_rows: RowArray
    """`[num_candidates]` row in the earlier corpus; -1 of a new candidate."""
    given_rows: RowArray
    """`[num_candidates]` row among the given candidates; -1 of one that was not given."""
    hashes: HashArray
    """`[num_candidates, 16]`."""
    to_embed: RowArray
    """Rows of new candidates and of those whose features changed, ascending."""
    num_withdrawn: int
    """Candidates of the earlier corpus that are gone."""

    @property
    def num_added(self) -> int:
        """Candidates that the earlier corpus did not have."""
        return int((self.kept_rows < 0).sum())

    @property
    def num_changed(self) -> int:
        """Candidates that were there with other features."""
        return len(self.to_embed) - self.num_added


def plan_changes(
    kept_ids: Iterable[str],
    kept_hashes: HashArray,
    given_ids: Iterable[str],
    given_hashes: HashArray,
    withdrawn: Collection[str],
    *,
    replace: bool,
) -> CorpusChanges:
    """Joins the earlier corpus with what is given.

    Args:
        kept_ids: of the earlier corpus, in row order.
        kept_hashes: `[num_kept, 16]` of their features.
        given_ids: new, changed or unchanged candidates; each once.
        given_hashes: `[num_given, 16]`.
        withdrawn: ids that leave the corpus.
        replace: what is not given leaves it too.

    Raises:
        BundleError: a candidate is both given and withdrawn, or none is left.
    """
    given = {name: row for row, name in enumerate(given_ids)}
    kept = {name: row for row, name in enumerate(kept_ids)}
    both = sorted(given.keys() & set(withdrawn))
    if both:
        raise BundleError(
            f"refresh: {len(both)} candidates are both given and withdrawn, such as {both[0]!r}. "
            "Leave each in one of the two files."
        )
    stay = given if replace else {**kept, **given}
    ids = sorted(stay.keys() - set(withdrawn), key=str.encode)
    if not ids:
        raise BundleError("refresh: no candidate would be left. Give at least one.")
    kept_rows = np.array([kept.get(name, -1) for name in ids], np.int64)
    given_rows = np.array([given.get(name, -1) for name in ids], np.int64)
    hashes = np.where(
        (given_rows >= 0)[:, None],
        _rows(given_hashes, given_rows),
        _rows(kept_hashes, kept_rows),
    )
    changed = (_rows(kept_hashes, kept_rows) != hashes).any(axis=1)
    return CorpusChanges(
        ids,
        kept_rows,
        given_rows,
        hashes,
        np.flatnonzero((kept_rows < 0) | changed),
        len(kept) - int((kept_rows >= 0).sum()),
    )


def _rows(hashes: HashArray, rows: RowArray) -> HashArray:
    """Those at the rows; zeros where a row is -1."""
    padded = np.concatenate([hashes, np.zeros((1, hashes.shape[1]), np.uint8)])
    return padded[rows]
