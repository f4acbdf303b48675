"""Expected occurrences of a candidate in a batch, for the logQ correction.

Both sources give the *expected number of occurrences* of a candidate among the in-batch columns,
`batch * q` for a share q of the training examples. A common factor cancels in the softmax, so
this is the same correction as log q; in this unit the expectation of uniform negatives can be
added.

TFRS clips q at 1e-6, so every rarer candidate gets the same correction; nothing is clipped here. A
candidate with count 0 is never an in-batch column; if it is drawn as a uniform negative, its
expectation is that of the uniform draw.
"""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


class CountedFrequency(tf.Module):
    """Expected occurrences, from counts of the training examples."""

    def __init__(self, counts: NDArray[np.integer], *, batch_size: int) -> None:
        """Computes batch_size * count / total for each row of the corpus.

        Args:
            counts: `[num_candidates]` training examples of each candidate, 0 allowed.
            batch_size: size of the global batch.

        Raises:
            ValueError: all counts are 0.
        """
        super().__init__(name="counted_frequency")
        total = int(counts.sum())
        if total < 1:
            raise ValueError("all counts are 0; at least one candidate must have been seen")
        self._expected = tf.constant(batch_size * (counts / total), tf.float32)

    def expected(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the expected in-batch occurrences of candidates.

        Args:
            rows: `[columns]` int.

        Returns:
            `[columns]` float32, 0 for a candidate that was never seen.
        """
        return tf.gather(self._expected, rows)

    def update(self, rows: tf.Tensor, step: tf.Tensor) -> None:
        """Does nothing: counts do not change in training."""


class StreamingFrequency(tf.Module):
    """The streaming estimate of Yi et al. (RecSys 2019, algorithm 2): 1 / gap.

    The gap is the number of steps between two batches that hold the candidate. The arrays have
    one entry for each row of the corpus, so there are no hash collisions. The variables belong in
    the checkpoint.
    """

    def __init__(
        self, num_candidates: int, *, learning_rate: float = 0.01, initial_gap: float = 100.0
    ) -> None:
        """Makes the two arrays of the algorithm.

        Args:
            num_candidates: size of the corpus.
            learning_rate: alpha, in (0, 1].
            initial_gap: first value of every gap, in steps.

        Raises:
            ValueError: alpha or the gap is out of range.
        """
        super().__init__(name="streaming_frequency")
        if not 0.0 < learning_rate <= 1.0 or not initial_gap > 0.0:
            raise ValueError(
                f"learning_rate is {learning_rate} and initial_gap {initial_gap}; expected "
                "0 < learning_rate <= 1 and initial_gap > 0"
            )
        self._learning_rate = learning_rate
        shared = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self._last_step = tf.Variable(
            tf.zeros([num_candidates], tf.int64), name="last_step", **shared
        )
        self._gap = tf.Variable(tf.fill([num_candidates], initial_gap), name="gap", **shared)

    @property
    def gap(self) -> tf.Tensor:
        """`[num_candidates]` estimated steps between two occurrences."""
        return tf.convert_to_tensor(self._gap)

    def update(self, rows: tf.Tensor, step: tf.Tensor) -> None:
        """Updates the gaps of a batch's candidates; several occurrences count once.

        B[y] <- (1 - alpha) B[y] + alpha (step - A[y]), then A[y] <- step.

        Args:
            rows: `[batch]` int, the in-batch columns of all replicas.
            step: int64, number of the step, counted from 1.
        """
        rows = tf.unique(rows).y
        passed = tf.cast(step - tf.gather(self._last_step, rows), tf.float32)
        gap = tf.gather(self._gap, rows)
        gap += self._learning_rate * (passed - gap)
        indices = rows[:, tf.newaxis]
        self._gap.assign(tf.tensor_scatter_nd_update(self._gap, indices, gap))
        steps = tf.fill(tf.shape(rows), tf.cast(step, tf.int64))
        self._last_step.assign(tf.tensor_scatter_nd_update(self._last_step, indices, steps))

    def expected(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the expected in-batch occurrences, 1 / gap.

        Args:
            rows: `[columns]` int.

        Returns:
            `[columns]` float32, > 0.
        """
        return 1.0 / tf.gather(self._gap, rows)


def mixed_expectation(in_batch: tf.Tensor, *, num_uniform: int, num_candidates: int) -> tf.Tensor:
    """Expected occurrences among in-batch columns and uniform negatives together.

    With B in-batch columns drawn from q and B' uniform ones, candidate j is in
    E_j = B q_j + B' / N columns on average. The sum over columns of exp(s_j) / E_j is then an
    unbiased estimate of the full denominator of the softmax, so every column of either kind is
    corrected by log E_j. This is Q* of Yang et al. (WWW 2020), up to the factor B + B'.

    Args:
        in_batch: `[columns]` expected occurrences among the in-batch columns, B q_j.
        num_uniform: number of uniform columns, B'.
        num_candidates: size of the corpus, N.

    Returns:
        `[columns]` float32.
    """
    return in_batch + num_uniform / num_candidates


def uniform_rows(num_uniform: int, num_candidates: int, *, seed: tf.Tensor) -> tf.Tensor:
    """Draws rows of the corpus uniformly, with replacement.

    Args:
        num_uniform: number of uniform draws.
        num_candidates: size of the corpus.
        seed: `[2]` int32; the same seed gives the same rows.

    Returns:
        `[num_uniform]` int32.
    """
    return tf.random.stateless_uniform([num_uniform], seed, 0, num_candidates, tf.int32)
