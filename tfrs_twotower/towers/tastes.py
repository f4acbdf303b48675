"""What a history says of a query's tastes: which values of the candidates' features it prefers.

A tower that adds up a history can only learn this from many examples, and only roughly: its scores
are bounded, and linear in the shares of the values, while chances are products of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf


@dataclass(frozen=True)
class Tastes:
    """The values of some categorical features, one after the other.

    Attributes:
        features: names of the features.
        priors: for each feature `[num_values]`, the share of all events that have each value.
        strength: of these shares, in events.
        scale: what a value that a candidate has is written as, so that it is of the size of the
            other entries of its vector.
    """

    features: tuple[str, ...]
    priors: tuple[tuple[float, ...], ...]
    strength: float
    scale: float

    @property
    def num_values(self) -> int:
        """Values of all features together."""
        return sum(map(len, self.priors))

    def query_heads(self, counts: tf.Tensor) -> tf.Tensor:
        """The log-lift of every value, each feature in a head of its own.

            log( (n_v + s p_v) / ((n + s) p_v) ) / scale

        Args:
            counts: `[batch, num_values]` events of the history that have each value, times `scale`;
                an event with several values of a feature is shared by them.

        Returns:
            `[batch, num_features, num_values]`, 0 in the places of other features, and where the
            history has no value.
        """
        heads, start = [], 0
        for prior in self.priors:
            n_v = counts[:, start : start + len(prior)] / self.scale
            p_v = tf.constant(prior, tf.float32)
            n = tf.reduce_sum(n_v, axis=1, keepdims=True)
            lift = tf.math.log((n_v + self.strength * p_v) / ((n + self.strength) * p_v))
            behind = self.num_values - start - len(prior)
            heads.append(tf.pad(lift / self.scale, [[0, 0], [start, behind]]))
            start += len(prior)
        return tf.stack(heads, axis=1)


def fit_tastes(
    tokens: Sequence[tuple[str, npt.NDArray[np.integer], int]],
    chosen: npt.NDArray[np.integer],
    *,
    strength: float,
    scale: float,
) -> tuple[Tastes, npt.NDArray[np.float32]]:
    """Counts how often each value is chosen.

    Args:
        tokens: for each feature its name, the positions of the candidates' values
            `[num_candidates, width]`, negative for none, and the number of values.
        chosen: `[num_examples]` rows of the candidates of the training examples.
        strength: see `Tastes`.
        scale: see `Tastes`.

    Returns:
        The tastes, and `[num_candidates, num_values]` float32: `scale` divided by the number of the
        candidate's values of a feature where it has the value, else 0.
    """
    parts, priors = [], []
    for _, values, number in tokens:
        has = np.zeros((len(values), number), np.float32)
        row, column = np.nonzero(values >= 0)
        has[row, values[row, column]] = 1.0
        has /= np.maximum(has.sum(axis=1, keepdims=True), 1.0)
        parts.append(has * np.float32(scale))
        counts = np.bincount(chosen, minlength=len(values)) @ has + 1.0
        priors.append(tuple((counts / counts.sum()).tolist()))
    names = tuple(name for name, _, _ in tokens)
    return Tastes(names, tuple(priors), strength, scale), np.concatenate(parts, axis=1)
