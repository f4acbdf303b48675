"""Gradient caching (Gao et al., RepL4NLP 2021): exact gradients of a batch embedded in chunks.

The loss needs the outputs of the whole batch, but a tower's gradient needs only those of a chunk:

1.  every chunk is embedded without a tape, and the outputs are joined;
2.  the loss gives its gradient by the joined outputs;
3.  every chunk is embedded again, with a tape and the same dropout masks, and passes its share of
    that gradient on to the weights.

Memory then holds the inner values of one chunk, and the towers run forward twice.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.layers.seeded import TrainingDropout
from tfrs_twotower.towers.tower import Tower, TowerOutput
from tfrs_twotower.training.optimizers import Gradient

Encode = Callable[[Tower, Tokens], TowerOutput]
"""Embeds a batch of tokens with a tower, for training."""


@dataclass(frozen=True)
class _Chunk:
    """Some rows of a batch, for one tower."""

    tower: Tower
    tokens: Tokens
    rows: slice
    total: tf.Tensor
    states: Sequence[tuple[TrainingDropout, tf.Tensor]]
    """Each source of masks with its state before the batch."""

    def encode(self) -> TowerOutput:
        """The tower's output of these rows, with the masks that the whole batch would give them."""
        with contextlib.ExitStack() as masks:
            for dropout, state in self.states:
                masks.enter_context(dropout.for_rows(self.rows, self.total, state))
            part = {name: values[self.rows] for name, values in self.tokens.items()}
            return self.tower.encode(part, training=True)


class CachedEncodings:
    """The towers' outputs of one step, and what their gradients need."""

    def __init__(self, tape: tf.GradientTape, num_chunks: int) -> None:
        """Starts a step, whose loss `tape` records; towers see each batch in `num_chunks` parts."""
        self._tape = tape
        self._num_chunks = num_chunks
        self._encoded: list[tuple[list[_Chunk], list[tf.Tensor]]] = []

    def encode(self, tower: Tower, tokens: Tokens) -> TowerOutput:
        """Returns `tower.encode(tokens, training=True)`; the tape does not see the tower inside."""
        with self._tape.stop_recording():
            chunks = list(self._chunks(tower, tokens))
            parts: list[TowerOutput] = []
            for chunk in chunks:
                # One after the other, or all chunks would be in memory together.
                with tf.control_dependencies(_parts(parts[-1]) if parts else []):
                    parts.append(chunk.encode())
            output = TowerOutput(
                *(
                    None if of_part[0] is None else tf.concat(of_part, axis=0)
                    for of_part in zip(*parts, strict=True)
                )
            )
        self._tape.watch(_parts(output))
        self._encoded.append((chunks, _parts(output)))
        return output

    def gradients(self, loss: tf.Tensor, variables: Sequence[tf.Variable]) -> list[Gradient | None]:
        """The gradient of the loss by each variable; None for a variable that it does not reach."""
        outputs = [output for _, output in self._encoded]
        direct, upstream = self._tape.gradient(loss, (list(variables), outputs))
        sums: list[list[Gradient]] = [[] if one is None else [one] for one in direct]
        done: list[Any] = [loss]
        for (chunks, _), of_output in zip(self._encoded, upstream, strict=True):
            for chunk in chunks:
                with tf.control_dependencies(done):  # as above
                    found = _of_chunk(chunk, of_output, variables)
                for own, gradient in zip(sums, found, strict=True):
                    own.extend([] if gradient is None else [gradient])
                done = [one for one in found if one is not None] or done
        return [_sum(own) if own else None for own in sums]

    def _chunks(self, tower: Tower, tokens: Tokens) -> Iterator[_Chunk]:
        total = tf.shape(next(iter(tokens.values())))[0]
        sources = [part for part in tower.submodules if isinstance(part, TrainingDropout)]
        states = [(dropout, dropout.state) for dropout in sources]
        for number in range(self._num_chunks):
            start, stop = (total * n // self._num_chunks for n in (number, number + 1))
            yield _Chunk(tower, tokens, slice(start, stop), total, states)


def _parts(output: TowerOutput) -> list[tf.Tensor]:
    return [values for values in output if values is not None]


def _of_chunk(
    chunk: _Chunk, upstream: Sequence[tf.Tensor | None], variables: Sequence[tf.Variable]
) -> list[Gradient | None]:
    """Gradients by the variables, given those of the loss by the parts of the whole output."""
    with tf.GradientTape() as tape:
        parts = _parts(chunk.encode())
    reached = [
        (values, gradient[chunk.rows])
        for values, gradient in zip(parts, upstream, strict=True)
        if gradient is not None
    ]
    found: list[Gradient | None] = tape.gradient(
        [values for values, _ in reached],
        list(variables),
        output_gradients=[gradient for _, gradient in reached],
    )
    return found


def _sum(gradients: list[Gradient]) -> Gradient:
    if not all(isinstance(gradient, tf.IndexedSlices) for gradient in gradients):
        return tf.add_n([tf.convert_to_tensor(gradient) for gradient in gradients])
    return tf.IndexedSlices(
        tf.concat([gradient.values for gradient in gradients], axis=0),
        tf.concat([gradient.indices for gradient in gradients], axis=0),
        gradients[0].dense_shape,
    )
