"""Operations that all searchers share: ordering candidates, complete lists of k places, ids.

Rows are int32 positions in the corpus; a place without a candidate has row -1 and the lowest
float32. Lists are ordered by score descending, then row ascending.
"""

from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf

from tfrs_twotower.index.restricts import Permits
from tfrs_twotower.layers.lexical import places_in_list
from tfrs_twotower.ranking.order import LOWEST_SCORE, MISSING_ROW

_ALL_BUT_SIGN = 0x7FFFFFFF
_ROWS = 1 << 32


class Search(Protocol):
    """A searcher over one corpus; a `tf.Module` whose state is its variables."""

    @property
    def num_candidates(self) -> int:
        """Candidates in the corpus."""

    @property
    def is_exact(self) -> bool:
        """Whether the answer is that of exact search."""

    def search(
        self,
        embeddings: tf.Tensor,
        k: int,
        excluded_rows: tf.Tensor | None = None,
        permits: Permits | None = None,
        *,
        ordered: bool = True,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The best k candidates of each query.

        Args:
            embeddings: `[batch, embedding_dim]` float32.
            k: list length, at least 1.
            excluded_rows: `[batch, n]` int32 rows that may not be returned; -1 is not a row.
            permits: restricts of the same queries; None lets every candidate pass.
            ordered: False lets a list come in any order, for a caller that orders it anew.

        Returns:
            Scores float32 and rows int32, each `[batch, k]`.
        """

    def score(self, embeddings: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """The scores that `search` gives listed candidates.

        Args:
            embeddings: `[batch, embedding_dim]` float32.
            rows: `[batch, n]` int32, all >= 0.

        Returns:
            `[batch, n]` float32.
        """


def order(scores: tf.Tensor, rows: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Orders candidates that come in any order and keeps the first k.

    Args:
        scores: `[batch, n]`.
        rows: `[batch, n]`; only -1 may occur twice in a line.
        k: list length.

    Returns:
        Scores and rows `[batch, k]`.
    """
    # One sort by both: a key is an integer that rises with the score (the magnitude of its bits
    # with its sign, so that -0 equals 0), minus the row.
    bits = tf.bitcast(scores, tf.int32)
    sign = tf.bitwise.right_shift(bits, 31)  # 0 or -1
    rising = ((bits & _ALL_BUT_SIGN) ^ sign) - sign
    keys = tf.cast(rising, tf.int64) * _ROWS - tf.cast(rows, tf.int64)
    length = scores.shape[1]
    kept = tf.minimum(k, tf.shape(scores)[1]) if length is None else min(k, length)
    _, columns = tf.math.top_k(keys, kept)
    scores = tf.gather(scores, columns, batch_dims=1)
    return complete(scores, tf.gather(rows, columns, batch_dims=1), k)


def complete(scores: tf.Tensor, rows: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Marks places without a candidate (or with a NaN) as missing and pads lists to k places."""
    returned = tf.logical_and(rows != MISSING_ROW, scores > LOWEST_SCORE)
    scores = tf.where(returned, scores, LOWEST_SCORE)
    rows = tf.where(returned, rows, MISSING_ROW)
    if scores.shape[1] != k:
        padding = [[0, 0], [0, k - tf.shape(scores)[1]]]
        scores = tf.pad(scores, padding, constant_values=LOWEST_SCORE)
        rows = tf.pad(rows, padding, constant_values=MISSING_ROW)
    batch = scores.shape[0]
    return tf.ensure_shape(scores, [batch, k]), tf.ensure_shape(rows, [batch, k])


def contains(sorted_rows: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Whether each row is in its line of `sorted_rows`.

    Args:
        sorted_rows: `[batch, n]` int32, ascending; n may be 0.
        rows: `[batch, m]` int32.

    Returns:
        `[batch, m]` bool.
    """
    guarded = tf.pad(sorted_rows, [[0, 0], [0, 1]], constant_values=tf.int32.max)
    at = tf.searchsorted(guarded, rows)
    return tf.gather(guarded, at, batch_dims=1) == rows


def count_distinct(sorted_rows: tf.Tensor) -> tf.Tensor:
    """Number of distinct rows, -1 not counted, in each line of `[batch, n]`; `[batch]` int32."""
    before = tf.pad(sorted_rows[:, :-1], [[0, 0], [1, 0]], constant_values=MISSING_ROW)
    before = before[:, : tf.shape(sorted_rows)[1]]
    fresh = tf.logical_and(sorted_rows != before, sorted_rows != MISSING_ROW)
    return tf.reduce_sum(tf.cast(fresh, tf.int32), axis=1)


class CandidateIds(tf.Module):
    """Both directions of the mapping between a candidate's id and its row.

    Row -1 has the id "" (or -1, where ids are integers); an unknown id has row -1.
    """

    def __init__(self, ids: Any, lookup_file: Path | None = None) -> None:
        """Keeps the ids in a variable and a lookup table.

        Args:
            ids: `[num_candidates]` strings or integers, in row order.
            lookup_file: a text file of the same string ids; see `places_in_list`.
        """
        super().__init__(name="candidate_ids")
        keys = tf.convert_to_tensor(ids)
        if keys.dtype == tf.int32:
            keys = tf.cast(keys, tf.int64)
        missing = tf.constant([""]) if keys.dtype == tf.string else tf.constant([-1], keys.dtype)
        # Row -1 comes first, so that an id is found by one addition.
        self._ids = tf.Variable(tf.concat([missing, keys], axis=0), trainable=False, name="ids")
        self._rows = places_in_list(keys, lookup_file, MISSING_ROW)

    def ids_of(self, rows: tf.Tensor) -> tf.Tensor:
        """Ids of rows, of the same shape."""
        return tf.gather(self._ids, rows - MISSING_ROW)

    def rows_of(self, ids: tf.Tensor) -> tf.Tensor:
        """Rows int32 of ids, of the same shape."""
        if ids.dtype == tf.int32:
            ids = tf.cast(ids, tf.int64)
        return tf.cast(self._rows.lookup(ids), tf.int32)
