"""Which candidates of a batch are no negatives of a query, although they stand in its row."""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.ranking.ragged import distinct_pairs


def accidental_hits(positive_rows: tf.Tensor, column_rows: tf.Tensor) -> tf.Tensor:
    """Whether a column holds the query's own positive (also in the positive's own column).

    Args:
        positive_rows: `[batch]` int, the positive of each query.
        column_rows: `[columns]` int, the candidate of each column.

    Returns:
        `[batch, columns]` bool.
    """
    return positive_rows[:, tf.newaxis] == column_rows[tf.newaxis, :]


class KnownPositives(tf.Module):
    """All training positives of each query, to be hidden from its negatives.

    Stored as one flat list (4 bytes for each distinct pair). A batch is answered without
    searching: the candidates of the batch are numbered, each query's list is looked up in that
    numbering, and what is found is scattered. Binary search of all pairs in sorted
    (query, candidate) keys was measured at about twenty times the cost.

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
            num_queries: how many queries there are.
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
        """Whether a column holds a training positive of the query.

        Args:
            query_rows: `[batch]` int32.
            column_rows: `[columns]` int32.

        Returns:
            `[batch, columns]` bool.
        """
        # A query that stands in several rows is answered once.
        distinct_queries, place_of_row = tf.unique(query_rows)
        positives = tf.gather(
            tf.RaggedTensor.from_row_splits(self._rows, self._offsets, validate=False),
            distinct_queries,
        ).to_sparse()
        distinct, place_of_column = tf.unique(column_rows)
        num_distinct = tf.size(distinct, tf.int64)
        # What stands in no column goes to a place of its own, after the others.
        places = tf.tensor_scatter_nd_update(
            tf.fill([self._num_candidates], num_distinct),
            distinct[:, tf.newaxis],
            tf.range(num_distinct),
        )
        places = tf.gather(places, positives.values)
        # Columns come first: rows of this matrix are copied whole, then it is turned over.
        found = tf.SparseTensor(
            tf.stack([places, positives.indices[:, 0]], axis=1),
            tf.fill(tf.shape(places), True),
            tf.stack([num_distinct + 1, tf.size(distinct_queries, tf.int64)]),
        )
        # Not validated: that place is met many times, and the cells are in no order.
        found = tf.sparse.to_dense(found, validate_indices=False)
        found = tf.transpose(tf.gather(found, place_of_column))
        return tf.gather(found, place_of_row)
