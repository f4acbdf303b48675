"""Where a batch's negatives come from, what corrects them, and what hides them."""

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from tfrs_twotower.losses.cross_batch_memory import CrossBatchMemory
from tfrs_twotower.losses.masks import KnownPositives, accidental_hits
from tfrs_twotower.losses.sampling_probability import (
    CountedFrequency,
    StreamingFrequency,
    mixed_expectation,
    uniform_rows,
)


@dataclass(frozen=True)
class NegativeSampling:
    """The negatives of a training.

    Attributes:
        corpus_tokens: `[num_candidates, ...]` tokens of the candidate tower, by name.
        num_candidates: size of the corpus.
        num_uniform: candidates drawn uniformly for each global batch.
        frequency: source of the logQ correction; None leaves it out.
        known_positives: hidden from their query's negatives; None hides accidental hits only.
        memory: candidates of earlier batches; None does without.
        seed: of everything that is drawn.
    """

    corpus_tokens: Mapping[str, tf.Tensor]
    num_candidates: int
    num_uniform: int = 0
    frequency: CountedFrequency | StreamingFrequency | None = None
    known_positives: KnownPositives | None = None
    memory: CrossBatchMemory | None = None
    seed: int = 0

    @property
    def state(self) -> list[tf.Module]:
        """What belongs in a checkpoint."""
        return [part for part in (self.frequency, self.memory) if part is not None]

    def tokens_of(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tokens of some candidates."""
        return {name: tf.gather(values, rows) for name, values in self.corpus_tokens.items()}

    def draw(self, step: tf.Tensor) -> tf.Tensor:
        """`[num_uniform]` rows for this step."""
        return uniform_rows(
            self.num_uniform,
            self.num_candidates,
            seed=tf.stack([tf.constant(self.seed, tf.int32), tf.cast(step, tf.int32)]),
        )

    def count(self, rows: tf.Tensor, step: tf.Tensor) -> None:
        """Notes the positives `[all]` of this step, for a streaming estimate."""
        if self.frequency is not None:
            self.frequency.update(rows, step)

    def remember(self, embeddings: tf.Tensor, rows: tf.Tensor) -> None:
        """Keeps the positives of this step for later ones."""
        if self.memory is not None:
            self.memory.push(embeddings, rows)

    def expected(self, columns: tf.Tensor, num_in_batch: tf.Tensor) -> tf.Tensor | None:
        """How often each column's candidate is met among all columns.

        Args:
            columns: `[columns]` rows; below 0 for a place of the memory that is still empty.
            num_in_batch: positives among them.

        Returns:
            `[columns]`; None without a correction.
        """
        if self.frequency is None:
            return None
        expected = self.frequency.expected(tf.maximum(columns, 0))
        if self.memory is not None:
            # Positives of earlier batches come from the same distribution as those of this one.
            filled = tf.reduce_sum(tf.cast(columns >= 0, tf.float32)) - self.num_uniform
            expected *= filled / tf.cast(num_in_batch, tf.float32)
        if not self.num_uniform:
            return expected
        return mixed_expectation(
            expected, num_uniform=self.num_uniform, num_candidates=self.num_candidates
        )

    def hidden(
        self, query_rows: tf.Tensor, positive_rows: tf.Tensor, columns: tf.Tensor
    ) -> tf.Tensor:
        """`[batch, columns]`: no negatives of that query; rows below 0 are nobody's."""
        if self.known_positives is None:
            hidden = accidental_hits(positive_rows, columns)
        else:
            # A positive is one of its query's known positives, so this covers accidental hits.
            hidden = self.known_positives.hits(query_rows, tf.maximum(columns, 0))
        return tf.logical_or(hidden, columns[tf.newaxis, :] < 0)
