"""Candidates of earlier batches, kept as further negatives."""

import tensorflow as tf


class CrossBatchMemory(tf.Module):
    """The last `capacity` candidate embeddings, with the values that they had when pushed.

    Embeddings drift slowly, so those of recent steps still serve as negatives (Wang et al., CVPR
    2020); they receive no gradient. The oldest are replaced first. The variables belong in the
    checkpoint, and are useless after the weights of the towers are replaced.

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
            embeddings: `[batch, embedding_dim]`, of all replicas. Of more than `capacity`
                embeddings the last ones are kept.
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
