"""Random numbers of the towers, from the seed of the run: initial weights and training dropout."""

import contextlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf

from tfrs_twotower.specs import UNKNOWN_ROW


def _key(seed: int, name: str) -> list[int]:
    """Two 32-bit numbers that start the random numbers of one name."""
    return [seed & 0x7FFFFFFF, zlib.crc32(name.encode())]


@dataclass(frozen=True)
class WeightMaker:
    """Makes variables under dotted names, such as `query.fields.age.kernel`."""

    seed: int
    prefix: str = ""

    def under(self, name: str) -> "WeightMaker":
        """Returns a maker whose names begin with this maker's prefix and `name`."""
        return WeightMaker(self.seed, f"{self.prefix}{name}.")

    def normal(
        self, name: str, shape: Sequence[int], stddev: float, *, zero_rows: int = 0
    ) -> tf.Variable:
        """A float32 variable of normal values; its first `zero_rows` rows are zero."""
        path = self.prefix + name
        value = tf.random.stateless_normal(shape, _key(self.seed, path), stddev=stddev)
        if zero_rows:
            value *= tf.cast(tf.range(shape[0]) >= zero_rows, value.dtype)[:, tf.newaxis]
        return tf.Variable(value, name=path)

    def fixed_normal(self, name: str, shape: Sequence[int]) -> tf.Variable:
        """A float32 variable of standard normal values that is saved and not trained."""
        path = self.prefix + name
        value = tf.random.stateless_normal(shape, _key(self.seed, path))
        return tf.Variable(value, trainable=False, name=path)

    def constant(self, name: str, shape: Sequence[int], value: float) -> tf.Variable:
        """A float32 variable of one value."""
        return tf.Variable(tf.fill(shape, float(value)), name=self.prefix + name)

    def identity(self, name: str, dim: int) -> tf.Variable:
        """A float32 variable that starts as the identity matrix."""
        return tf.Variable(tf.eye(dim), name=self.prefix + name)

    def state(self, name: str, shape: Sequence[int]) -> tf.Variable:
        """A float32 variable of zeros that is saved with the weights and is not trained.

        All replicas must write the same values to it.
        """
        return tf.Variable(
            tf.zeros(shape),
            trainable=False,
            name=self.prefix + name,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )


class TrainingDropout(tf.Module):
    """A seeded source of random masks and noise; its state is saved with a checkpoint.

    A tower calls it only while training, so the exported graph does not contain it.
    """

    def __init__(self, seed: int, name: str) -> None:
        """Starts the random numbers.

        Args:
            seed: seed of the run.
            name: name of the source; sources of different names draw different numbers.
        """
        super().__init__(name="dropout")
        self._random = tf.random.Generator.from_seed([*_key(seed, name), 0], alg="philox")
        self._rows: tuple[slice, tf.Tensor] | None = None

    @property
    def state(self) -> tf.Tensor:
        """The state from which the next numbers are drawn."""
        return tf.identity(self._random.state)

    @contextlib.contextmanager
    def for_rows(self, rows: slice, total: tf.Tensor, state: tf.Tensor) -> Iterator[None]:
        """Draws for some rows of a batch what the whole batch would draw for them.

        All values must have a row for each row of the batch on their first axis.

        Args:
            rows: the rows.
            total: number of rows of the whole batch.
            state: the state before the batch.
        """
        self._random.state.assign(state)
        self._rows = (rows, total)
        try:
            yield
        finally:
            self._rows = None

    def keep_mask(self, values: tf.Tensor, rate: float) -> tf.Tensor:
        """Boolean mask of the values' shape; each entry is False with probability `rate`."""
        return self._draw(self._random.uniform, tf.shape(values)) >= rate

    def drop_ids(self, ids: tf.Tensor, rate: float) -> tf.Tensor:
        """Replaces each known id by the unknown row with probability `rate`."""
        dropped = ~self.keep_mask(ids, rate) & (ids > UNKNOWN_ROW)
        return tf.where(dropped, UNKNOWN_ROW, ids)

    def drop_entries(self, ids: tf.Tensor, rate: float) -> tf.Tensor:
        """Replaces each entry of a list by padding with probability `rate`."""
        return tf.where(self.keep_mask(ids, rate), ids, 0)

    def drop_activations(self, values: tf.Tensor, rate: float) -> tf.Tensor:
        """Inverted dropout: kept values are divided by `1 - rate`."""
        return tf.where(self.keep_mask(values, rate), values / (1.0 - rate), 0.0)

    def noise(self, shape: Sequence[int | tf.Tensor]) -> tf.Tensor:
        """Standard normal values, drawn anew at each call."""
        return self._draw(self._random.normal, tf.stack(shape))

    def _draw(self, draw: Callable[[tf.Tensor], tf.Tensor], shape: tf.Tensor) -> tf.Tensor:
        if self._rows is None:
            return draw(shape)
        rows, total = self._rows
        return draw(tf.concat([[total], shape[1:]], axis=0))[rows]
