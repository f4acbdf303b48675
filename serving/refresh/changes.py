"""Plans what a refresh does to each candidate (keep, embed, withdraw), and embeds new ones."""

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
# Towers return unit vectors, except that a vector of norm zero cannot be normalised.
_MIN_NORM = 0.5
RawColumns = dict[str, npt.NDArray[Any]]


class EncodedCandidates(NamedTuple):
    """The output of a candidate tower."""

    vectors: FloatArray
    """`[n, embedding_dim]`, unit length."""
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
    norms = np.linalg.norm(joined, axis=1)
    bad = int((~(np.isfinite(norms) & (norms >= _MIN_NORM))).sum())
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
    num_withdrawn: int
    """Number of candidates of the earlier corpus that are gone."""

    @property
    def num_added(self) -> int:
        """Number of candidates that the earlier corpus did not have."""
        return int((self.kept_rows < 0).sum())

    @property
    def num_changed(self) -> int:
        """Number of candidates that had other features in the earlier corpus."""
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
    """Joins the earlier corpus with the given candidates.

    Args:
        kept_ids: ids of the earlier corpus, in row order.
        kept_hashes: `[num_kept, 16]` hashes of their features.
        given_ids: ids of new, changed or unchanged candidates, each once.
        given_hashes: `[num_given, 16]` hashes of their features.
        withdrawn: ids that leave the corpus.
        replace: whether candidates that are not given leave the corpus too.

    Raises:
        BundleError: a candidate is both given and withdrawn, or no candidate is left.
    """
    given_row_of = {id_: row for row, id_ in enumerate(given_ids)}
    kept_row_of = {id_: row for row, id_ in enumerate(kept_ids)}
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
        len(kept_row_of) - int((kept_rows >= 0).sum()),
    )


def _rows(hashes: HashArray, rows: RowArray) -> HashArray:
    """The hashes at these rows; zeros where a row is -1."""
    padded = np.concatenate([hashes, np.zeros((1, hashes.shape[1]), np.uint8)])
    return padded[rows]
