"""Which columns are negatives: accidental hits, known positives, candidates of earlier batches."""

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
        num_distinct = tf.size(distinct)
        # Positives that are in no column share one additional position, after the others.
        positions = tf.tensor_scatter_nd_update(
            tf.fill([self._num_candidates], num_distinct),
            distinct[:, tf.newaxis],
            tf.range(num_distinct),
        )
        positions = tf.cast(tf.gather(positions, positives.values), tf.int64)
        # Candidates come first, because gathering whole rows is fast; the result is transposed.
        matches = tf.SparseTensor(
            tf.stack([positions, positives.indices[:, 0]], axis=1),
            tf.fill(tf.shape(positions), True),
            tf.cast(tf.stack([num_distinct + 1, tf.size(distinct_queries)]), tf.int64),
        )
        # Not validated: the additional position occurs many times, and the cells are not in order.
        matches = tf.sparse.to_dense(matches, validate_indices=False)
        matches = tf.transpose(tf.gather(matches, candidate_of_column))
        return tf.gather(matches, query_of_row)


class CrossBatchMemory(tf.Module):
    """The last `capacity` candidate embeddings, with the values that they had when pushed.

    Embeddings drift slowly, so those of recent steps still serve as negatives (Wang et al., CVPR
    2020); they receive no gradient. The oldest are replaced first. The variables belong in the
    checkpoint; they lose their meaning when the weights of the towers are replaced.

    Attributes:
        capacity: number of stored embeddings.
    """

    def __init__(self, capacity: int, embedding_dim: int) -> None:
        """Makes an empty memory.

        Args:
            capacity: number of stored embeddings, at least 1.
            embedding_dim: length of the embeddings.

        Raises:
            ValueError: the capacity is below 1.
        """
        super().__init__(name="cross_batch_memory")
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; it must be at least 1")
        self.capacity = capacity
        shared = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self._embeddings = tf.Variable(
            tf.zeros([capacity, embedding_dim]), name="embeddings", **shared
        )
        self._rows = tf.Variable(tf.fill([capacity], -1), name="rows", **shared)
        self._num_pushed = tf.Variable(tf.zeros([], tf.int64), name="num_pushed", **shared)

    def read(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns all stored embeddings, in no particular order.

        Returns:
            Embeddings `[capacity, embedding_dim]` float32, and rows `[capacity]` int32. A slot that
            was never written has row -1 and embedding 0; the caller must mask it.
        """
        return tf.stop_gradient(self._embeddings), tf.convert_to_tensor(self._rows)

    def push(self, embeddings: tf.Tensor, rows: tf.Tensor) -> None:
        """Replaces the oldest embeddings.

        Args:
            embeddings: `[batch, embedding_dim]`, of all replicas. If they are more than
                `capacity`, the last ones are kept.
            rows: `[batch]` int32, >= 0.
        """
        pushed = self._num_pushed + tf.cast(tf.shape(rows)[0], tf.int64)
        kept = rows[-self.capacity :]
        slots = tf.range(pushed - tf.cast(tf.shape(kept)[0], tf.int64), pushed) % self.capacity
        slots = slots[:, tf.newaxis]
        self._embeddings.assign(
            tf.tensor_scatter_nd_update(self._embeddings, slots, embeddings[-self.capacity :])
        )
        self._rows.assign(tf.tensor_scatter_nd_update(self._rows, slots, kept))
        self._num_pushed.assign(pushed)
