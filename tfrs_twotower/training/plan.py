"""The plan of a training: number of steps, batch size, learning rate, and order of examples."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.config import FittingConfig, OptimizerConfig
from tfrs_twotower.data.negative_lists import Phase
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.keras_api import keras

DAY_S = 86_400.0
_ORDER_STREAM = 1  # distinct from other uses of the run's seed


def time_decay(
    timestamps: NDArray[np.int64], *, half_life_days: float, end_s: float
) -> NDArray[np.float32]:
    """Returns 2^(-age / half-life), where age is the time until the end of the training window.

    Args:
        timestamps: `[num_examples]` seconds.
        half_life_days: age at which the weight is one half.
        end_s: end of the window in seconds; later examples have age 0.

    Returns:
        `[num_examples]` float32 in (0, 1].
    """
    age_days = np.maximum(end_s - timestamps, 0.0) / DAY_S
    return np.exp2(-age_days / half_life_days).astype(np.float32)


def learning_rate_schedule(
    config: OptimizerConfig, horizon: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up, then constant or cosine decay (Loshchilov and Hutter 2017, without restarts).

    Args:
        config: peak rate, warm-up and kind of decay.
        horizon: step at which cosine decay reaches zero.

    Returns:
        Gives the rate of an update, counted from 1, as a float64 scalar: peak * step /
        warmup_steps until the warm-up ends.
    """
    # In float64, because two thirds of the rates in float32 are off by their last bit, and the
    # weights with them.
    return keras.optimizers.schedules.CosineDecay(
        tf.constant(0.0, tf.float64),
        decay_steps=max(horizon - config.warmup_steps, 1),
        alpha=0.0 if config.decay == "cosine" else 1.0,
        warmup_target=tf.constant(config.learning_rate, tf.float64),
        warmup_steps=config.warmup_steps,
    )


class BatchOrder:
    """An endless sequence of batches over shuffled epochs.

    Epoch e is a permutation of all examples drawn from (seed, e). Epochs follow each other without
    a gap, and batch s (from 0) holds positions [s * batch, (s + 1) * batch) of that sequence. Every
    batch is full, no example is dropped, and training resumes at any step without replaying.

    Without groups one block of `buffer` examples is in memory, whatever their number: the blocks of
    an epoch are drawn one after the other as they are needed, and drawn again for an earlier one.
    """

    def __init__(
        self,
        num_examples: int,
        batch_size: int,
        *,
        seed: int,
        buffer: int,
        groups: NDArray[np.integer] | None = None,
    ) -> None:
        """Sets the sizes and the seed of the order.

        Args:
            num_examples: number of examples.
            batch_size: examples in a batch, at most `num_examples`.
            seed: seed of the permutations.
            buffer: largest number of examples that are shuffled together: a larger set is cut into
                blocks of this size, and the blocks are permuted as well.
            groups: `[num_examples]`: examples of one group follow each other, and the groups are
                permuted; None permutes the examples.

        Raises:
            ValueError: a batch is larger than an epoch.
        """
        if not 0 < batch_size <= num_examples:
            raise ValueError(
                f"batch_size is {batch_size} with {num_examples} examples; "
                "it must lie between 1 and their number"
            )
        self._num_examples = num_examples
        self._batch_size = batch_size
        self._seed = seed
        self._buffer = buffer
        self._groups = groups
        self._blocks: Iterator[NDArray[np.int64]] = iter(())
        self._epoch, self._begin = -1, 0
        self._block = np.zeros(0, np.int64)

    def batch(self, step: int) -> NDArray[np.int64]:
        """Returns the positions of the examples of a batch.

        Args:
            step: counted from 0.

        Returns:
            `[batch_size]`.
        """
        first = step * self._batch_size
        parts: list[NDArray[np.int64]] = []
        while (missing := self._batch_size - sum(map(len, parts))) > 0:
            epoch, offset = divmod(first + self._batch_size - missing, self._num_examples)
            self._go_to(epoch, offset)
            parts.append(self._block[offset - self._begin :][:missing])
        return np.concatenate(parts)

    def _go_to(self, epoch: int, offset: int) -> None:
        """Makes the block current that holds a position of an epoch."""
        if epoch != self._epoch or offset < self._begin:
            self._blocks = self._permutation(epoch)
            self._epoch, self._begin, self._block = epoch, 0, next(self._blocks)
        while offset >= self._begin + len(self._block):
            self._begin += len(self._block)
            self._block = next(self._blocks)

    def _permutation(self, epoch: int) -> Iterator[NDArray[np.int64]]:
        random = np.random.Generator(np.random.Philox(key=[self._seed, _ORDER_STREAM + epoch]))
        if self._groups is not None:
            places = random.permutation(int(self._groups.max()) + 1)
            yield np.argsort(places[self._groups], kind="stable")
        elif self._num_examples <= self._buffer:
            yield random.permutation(self._num_examples)
        else:
            for start in random.permutation(
                np.arange(0, self._num_examples, self._buffer)
            ).tolist():
                yield start + random.permutation(min(self._buffer, self._num_examples - start))


@dataclass(frozen=True)
class Plan:
    """The number of steps of one training, and what happens at which step.

    Attributes:
        phase: `fit`, `refit`, or `warm_up` on pseudo-questions.
        batch_size: global batch.
        num_examples: examples in an epoch.
        horizon: step at which cosine decay would reach zero.
        last_step: last possible step.
        evaluate_every: steps between evaluations.
    """

    phase: Phase | Literal["warm_up"]
    batch_size: int
    num_examples: int
    horizon: int
    last_step: int
    evaluate_every: int

    def epoch(self, step: int) -> float:
        """Returns the number of passes over the examples after `step` steps."""
        return step * self.batch_size / self.num_examples


def fit_batch_size(num_examples: int, config: FittingConfig) -> tuple[int, str]:
    """Chooses a batch size with at least two batches in an epoch.

    Returns:
        The batch size, and a message if it is smaller than that of the config, else "".

    Raises:
        TrainingError: there are too few examples for any batch size.
    """
    replicas = config.replicas
    if num_examples >= 2 * config.batch_size:
        return config.batch_size, ""
    batch_size = num_examples // 2 // replicas * replicas
    if batch_size < 2 * replicas:
        raise TrainingError(
            f"training: found {num_examples} training examples; in-batch negatives need at least "
            f"{4 * replicas} (two batches of two for each replica). Look at relevance.min_label "
            "and split in the feature spec, or get more interactions."
        )
    return batch_size, (
        f"training.batch_size {config.batch_size} is lowered to {batch_size}: there are only "
        f"{num_examples} training examples"
    )


def plan_fit(num_examples: int, batch_size: int, config: FittingConfig) -> Plan:
    """Plans the first training, with as many steps as the config allows."""
    per_epoch = num_examples / batch_size
    steps = config.max_steps or max(1, round((config.epochs or 1) * per_epoch))
    evaluate_every = max(1, round(config.evaluate_every_epochs * per_epoch))
    return Plan("fit", batch_size, num_examples, steps, steps, evaluate_every)


def plan_refit(first: Plan, best_step: int, num_examples: int) -> Plan:
    """Plans the second training: as many passes over more examples, with the same schedule."""
    growth = num_examples / first.num_examples
    return Plan(
        "refit",
        first.batch_size,
        num_examples,
        horizon=max(1, round(first.horizon * growth)),
        last_step=max(1, round(best_step * growth)),
        evaluate_every=first.last_step * num_examples,  # beyond the last step: never
    )
