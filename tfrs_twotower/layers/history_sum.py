"""The query side of a linear model: the weighted sum of the vectors of a history's candidates."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf


class HistorySum(tf.Module):
    """Sums the vectors of the candidates of one history or several, recent ones with more weight.

    With half-life T, the event at position p (0 is the most recent) has the weight 2^(-p/T). A
    candidate that occurs repeatedly, in one history or in several, counts once, at its largest
    weight.

    Attributes:
        features: names of the histories.
        half_lives: in events; None weighs all events alike.
        vectors: `[2 + vocabulary size, rank]`, by token.
    """

    def __init__(
        self,
        features: Sequence[str],
        half_lives: Sequence[float | None],
        vectors: npt.NDArray[np.float32],
        name: str = "history",
    ) -> None:
        """Keeps the vectors in a variable of this name."""
        super().__init__(name="history_sum")
        self.features = tuple(features)
        self.half_lives = tuple(half_lives)
        self.vectors = tf.Variable(vectors, trainable=False, name=name)

    def __call__(self, tokens: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns `[batch, num_half_lives, rank]` for tokens `[batch, length]` of the histories."""
        histories = [tf.cast(tokens[name], tf.int64) for name in self.features]
        longest = max(history.shape[1] for history in histories)
        # After sorting, the events of one candidate form a run, its most recent event first.
        keys = [history * longest + np.arange(history.shape[1]) for history in histories]
        key = tf.sort(tf.concat(keys, axis=1), axis=1)
        token, position = key // longest, key % longest
        before = tf.pad(token[:, :-1], [[0, 0], [1, 0]], constant_values=-1)
        lives = tf.constant([np.inf if life is None else life for life in self.half_lives])
        weights = 0.5 ** (tf.cast(position, tf.float32)[:, :, tf.newaxis] / lives)
        weights = tf.where((token != before)[:, :, tf.newaxis], weights, 0.0)
        return tf.einsum("blh,blr->bhr", weights, tf.gather(self.vectors, token))
