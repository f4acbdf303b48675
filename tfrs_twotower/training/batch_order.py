"""Which examples make up a batch: a pure function of the seed and the step."""

import numpy as np
from numpy.typing import NDArray

_ORDER_STREAM = 1  # apart from other uses of the run's seed


class BatchOrder:
    """An endless sequence of batches over shuffled epochs.

    Epoch e is a permutation of all examples drawn from (seed, e). Epochs follow each other without
    a gap, and batch s (from 0) holds places [s * batch, (s + 1) * batch) of that sequence: every
    batch is full, no example is dropped, and training resumes at any step without replaying.
    """

    def __init__(self, num_examples: int, batch_size: int, *, seed: int, buffer: int) -> None:
        """Describes the order.

        Args:
            num_examples: how many examples there are.
            batch_size: examples in a batch, at most `num_examples`.
            seed: of the permutations.
            buffer: examples that are shuffled together, at most: a larger set is cut into blocks
                of this size, and blocks are permuted as wholes.

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
        self._cached: dict[int, NDArray[np.int64]] = {}

    def batch(self, step: int) -> NDArray[np.int64]:
        """Positions of the examples of a batch.

        Args:
            step: counted from 0.

        Returns:
            `[batch_size]`.
        """
        first = step * self._batch_size
        epoch, offset = divmod(first, self._num_examples)
        positions = self._epoch(epoch)[offset : offset + self._batch_size]
        missing = self._batch_size - len(positions)
        if missing:
            positions = np.concatenate([positions, self._epoch(epoch + 1)[:missing]])
        return positions

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._cached:
            for old in [e for e in self._cached if e < epoch - 1]:
                del self._cached[old]
            self._cached[epoch] = self._permutation(epoch)
        return self._cached[epoch]

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        random = np.random.Generator(np.random.Philox(key=[self._seed, _ORDER_STREAM + epoch]))
        if self._num_examples <= self._buffer:
            return random.permutation(self._num_examples)
        starts = random.permutation(np.arange(0, self._num_examples, self._buffer))
        return np.concatenate(
            [
                start + random.permutation(min(self._buffer, self._num_examples - start))
                for start in starts.tolist()
            ]
        )
