"""Masks of the pairs in a batch that must not count as negatives."""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.ranking.ragged import distinct_pairs


def accidental_hits(positive_rows: tf.Tensor, column_rows: tf.Tensor) -> tf.Tensor:
    """Marks columns that hold the query's own positive, the positive's own column included.

    Args:
        positive_rows: `[batch]` int, the positive of each query.
        column_rows: `[columns]` int, the candidate of each column.

    Returns:
        `[batch, columns]` bool.
    """
    return positive_rows[:, tf.newaxis] == column_rows[tf.newaxis, :]


class KnownPositives(tf.Module):
    """All training positives of each query, which must not count as its negatives.

    They are stored as one flat list (4 bytes for each distinct pair). `hits` needs no search: it
    numbers the candidates of the batch, looks up each query's list in that numbering, and scatters
    the matches. Binary search of all pairs in sorted (query, candidate) keys took about twenty
    times as long when measured.

    Attributes:
        num_pairs: distinct (query, candidate) pairs.
    """

    def __init__(
        self,
        query_rows: NDArray[np.integer],
        candidate_rows: NDArray[np.integer],
        *,
        num_queries: int,
        num_candidates: int,
    ) -> None:
        """Stores the pairs.

        Args:
            query_rows: `[pairs]`, in [0, num_queries).
            candidate_rows: `[pairs]`, in [0, num_candidates).
            num_queries: number of queries.
            num_candidates: size of the corpus.
        """
        super().__init__(name="known_positives")
        offsets, rows = distinct_pairs(
            query_rows, candidate_rows, num_queries=num_queries, num_candidates=num_candidates
        )
        self.num_pairs = len(rows)
        self._num_candidates = num_candidates
        self._offsets = tf.constant(offsets, tf.int64)
        self._rows = tf.constant(rows, tf.int32)

    def hits(self, query_rows: tf.Tensor, column_rows: tf.Tensor) -> tf.Tensor:
        """Marks columns that hold a training positive of the query.

        Args:
            query_rows: `[batch]` int32.
            column_rows: `[columns]` int32.

        Returns:
            `[batch, columns]` bool.
        """
        # A query that occurs in several rows is looked up once.
        distinct_queries, query_of_row = tf.unique(query_rows)
        positives = tf.gather(
            tf.RaggedTensor.from_row_splits(self._rows, self._offsets, validate=False),
            distinct_queries,
        ).to_sparse()
        distinct, candidate_of_column = tf.unique(column_rows)
        num_distinct = tf.size(distinct, tf.int64)
        # Positives that are in no column share one additional number, after the others.
        numbers = tf.tensor_scatter_nd_update(
            tf.fill([self._num_candidates], num_distinct),
            distinct[:, tf.newaxis],
            tf.range(num_distinct),
        )
        numbers = tf.gather(numbers, positives.values)
        # Candidates come first, because gathering whole rows is fast; then it is transposed.
        matches = tf.SparseTensor(
            tf.stack([numbers, positives.indices[:, 0]], axis=1),
            tf.fill(tf.shape(numbers), True),
            tf.stack([num_distinct + 1, tf.size(distinct_queries, tf.int64)]),
        )
        # Not validated: the additional number occurs many times, and the cells are not in order.
        matches = tf.sparse.to_dense(matches, validate_indices=False)
        matches = tf.transpose(tf.gather(matches, candidate_of_column))
        return tf.gather(matches, query_of_row)
