"""The mean of a model's weights over the later part of its training.

At a constant learning rate the last weights depend on the last few batches: between two evaluations
validation and test move by more than a whole epoch brings, and whoever takes the best of many such
points takes a lucky one. The mean of the weights along the way (Polyak and Juditsky 1992) has less
of that noise, and is usually better itself.
"""

import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf

_POWER = 2.0
_SAMPLES_PER_EPOCH = 50


class WeightAverage(tf.Module):
    """Averages variables with weights that grow as a power of the step (Shamir and Zhang 2013).

    The weights w_1, w_2, ... are read every few steps, and

        mean_t = (1 - r_t) mean_{t-1} + r_t w_t,   r_t = (n + 1) / (n + t),   n = 2

    so that w_i counts for about (i / t)^n: of a training of any length the last third counts most,
    and the random start does not. No window has to be chosen.
    """

    def __init__(self, variables: Sequence[tf.Variable], *, steps_per_epoch: float) -> None:
        """Starts an average without a sample.

        Args:
            variables: the trained variables.
            steps_per_epoch: from it follows how often the weights are read.
        """
        super().__init__(name="weight_average")
        self._variables = tuple(variables)
        self._interval = max(1, round(steps_per_epoch / _SAMPLES_PER_EPOCH))
        self._means = [tf.Variable(variable, trainable=False) for variable in variables]
        # In one call: operation by operation it takes a fifth of a small step's time.
        self._move = tf.function(self._moved, autograph=False)

    def update(self, step: int) -> None:
        """Reads the weights after a step, counted from 1, if it is the turn of this step."""
        sample, rest = divmod(step, self._interval)
        if rest and step != 1:
            return
        rate = (_POWER + 1.0) / (_POWER + max(sample, 1))
        if rate < 1.0:
            self._move(tf.constant(rate, tf.float64))
            return
        for mean, variable in zip(self._means, self._variables, strict=True):
            mean.assign(variable.read_value())

    def _moved(self, rate: tf.Tensor) -> None:
        for mean, variable in zip(self._means, self._variables, strict=True):
            now = variable.read_value()
            mean.assign_add(tf.cast(rate, now.dtype) * (now - mean))

    def take_over(self) -> None:
        """Sets the variables to their means."""
        for mean, variable in zip(self._means, self._variables, strict=True):
            variable.assign(mean.read_value())

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The variables are their means inside, and go on as before after it."""
        trained = [tf.identity(variable.read_value()) for variable in self._variables]
        self.take_over()
        try:
            yield
        finally:
            for variable, value in zip(self._variables, trained, strict=True):
                variable.assign(value)
