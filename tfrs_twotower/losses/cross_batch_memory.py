"""Candidates of earlier batches, kept as further negatives."""

import tensorflow as tf


class CrossBatchMemory(tf.Module):
    """The last `capacity` candidate embeddings, as they were when they were pushed.

    Wang et al. (CVPR 2020): embeddings drift slowly, so those of some steps ago still serve as
    negatives, at the price of their memory. They receive no gradient. First in, first out; the
    variables belong in the checkpoint, and are worth nothing after the towers' weights are
    replaced.

    Attributes:
        capacity: number of places.
    """

    def __init__(self, capacity: int, embedding_dim: int) -> None:
        """Makes an empty memory.

        Args:
            capacity: number of places, at least 1.
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
        """Everything that is kept, in no particular order.

        Returns:
            Embeddings `[capacity, embedding_dim]` float32, and rows `[capacity]` int32. The row of
            a place that was never written is -1 and its embedding 0: the caller hides it.
        """
        return tf.stop_gradient(self._embeddings), tf.convert_to_tensor(self._rows)

    def push(self, embeddings: tf.Tensor, rows: tf.Tensor) -> None:
        """Writes over the oldest places.

        Args:
            embeddings: `[batch, embedding_dim]`, of all replicas. If they are more than there are
                places, the last ones are kept.
            rows: `[batch]` int32, >= 0.
        """
        pushed = self._num_pushed + tf.cast(tf.shape(rows)[0], tf.int64)
        kept = rows[-self.capacity :]
        places = tf.range(pushed - tf.cast(tf.shape(kept)[0], tf.int64), pushed) % self.capacity
        places = places[:, tf.newaxis]
        self._embeddings.assign(
            tf.tensor_scatter_nd_update(self._embeddings, places, embeddings[-self.capacity :])
        )
        self._rows.assign(tf.tensor_scatter_nd_update(self._rows, places, kept))
        self._num_pushed.assign(pushed)
