"""The negatives of a batch: their sources, their logQ correction, and their mask."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.config import SoftmaxConfig
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.losses import negative_columns, sampling_probability


@dataclass(frozen=True)
class NegativeSampling:
    """The negatives of a training.

    Attributes:
        corpus_tokens: `[num_candidates, ...]` tokens of the candidate tower, by name.
        num_candidates: size of the corpus.
        num_uniform: number of candidates drawn uniformly for each global batch.
        frequency: source of the logQ correction; None omits it.
        known_positives: pairs that must not count as negatives; None masks accidental hits only.
        memory: candidates of earlier batches; None if there is no memory.
        seed: seed of the uniform draws.
    """

    corpus_tokens: Mapping[str, tf.Tensor]
    num_candidates: int
    num_uniform: int = 0
    frequency: (
        sampling_probability.CountedFrequency | sampling_probability.StreamingFrequency | None
    ) = None
    known_positives: negative_columns.KnownPositives | None = None
    memory: negative_columns.CrossBatchMemory | None = None
    seed: int = 0

    @property
    def state(self) -> list[tf.Module]:
        """The modules whose variables belong in a checkpoint."""
        return [part for part in (self.frequency, self.memory) if part is not None]

    def tokens_of(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the tokens of the candidates at `rows`."""
        return {name: tf.gather(values, rows) for name, values in self.corpus_tokens.items()}

    def draw(self, step: tf.Tensor) -> tf.Tensor:
        """Draws `[num_uniform]` rows for this step."""
        return sampling_probability.uniform_rows(
            self.num_uniform,
            self.num_candidates,
            seed=tf.stack([tf.constant(self.seed, tf.int32), tf.cast(step, tf.int32)]),
        )

    def count(self, rows: tf.Tensor, step: tf.Tensor) -> None:
        """Updates a streaming estimate with the positives `[all]` of this step."""
        if self.frequency is not None:
            self.frequency.update(rows, step)

    def store(self, embeddings: tf.Tensor, rows: tf.Tensor) -> None:
        """Stores the positives of this step as negatives of later steps."""
        if self.memory is not None:
            self.memory.push(embeddings, rows)

    def expected(self, columns: tf.Tensor, num_in_batch: tf.Tensor) -> tf.Tensor | None:
        """Returns the expected number of occurrences of each column's candidate in all columns.

        Args:
            columns: `[columns]` rows; a negative row means an empty slot of the memory.
            num_in_batch: number of in-batch positives among the columns.

        Returns:
            `[columns]`; None without a correction.
        """
        if self.frequency is None:
            return None
        expected = self.frequency.expected(tf.maximum(columns, 0))
        if self.memory is not None:
            # Positives of earlier batches have the same distribution as those of this batch.
            filled = tf.reduce_sum(tf.cast(columns >= 0, tf.float32)) - self.num_uniform
            expected *= filled / tf.cast(num_in_batch, tf.float32)
        if not self.num_uniform:
            return expected
        return sampling_probability.mixed_expectation(
            expected, num_uniform=self.num_uniform, num_candidates=self.num_candidates
        )

    def hidden(
        self, query_rows: tf.Tensor, positive_rows: tf.Tensor, columns: tf.Tensor
    ) -> tf.Tensor:
        """Returns the mask `[batch, columns]` of pairs that must not count as negatives."""
        if self.known_positives is None:
            hidden = negative_columns.accidental_hits(positive_rows, columns)
        else:
            # A positive is one of its query's known positives, so this covers accidental hits.
            hidden = self.known_positives.hits(query_rows, tf.maximum(columns, 0))
        return tf.logical_or(hidden, columns[tf.newaxis, :] < 0)


def build_sampling(
    softmax: SoftmaxConfig,
    table: ExampleTable,
    corpus_tokens: Mapping[str, tf.Tensor],
    counts: NDArray[np.int64],
    *,
    batch_size: int,
    embedding_dim: int,
    seed: int,
) -> NegativeSampling:
    """Builds the negatives that the config names.

    Args:
        softmax: the softmax section of the config.
        table: the training examples.
        corpus_tokens: `[num_candidates, ...]` tokens of the candidate tower, by name.
        counts: `[num_candidates]` examples of each candidate.
        batch_size: size of the global batch.
        embedding_dim: dimension of the embeddings that a memory stores.
        seed: seed of the uniform draws.
    """
    num_candidates = len(counts)
    known_positives = None
    if softmax.mask_other_positives:
        known_positives = negative_columns.KnownPositives(
            table.query_rows,
            table.candidate_rows,
            num_queries=len(table.query_ids),
            num_candidates=num_candidates,
        )
    frequency: (
        sampling_probability.CountedFrequency | sampling_probability.StreamingFrequency | None
    ) = None
    if softmax.logq == "counted":
        frequency = sampling_probability.CountedFrequency(counts, batch_size=batch_size)
    elif softmax.logq == "streaming":
        # The mean gap if all candidates were equally frequent.
        gap = max(1.0, num_candidates / batch_size)
        frequency = sampling_probability.StreamingFrequency(num_candidates, initial_gap=gap)
    memory = None
    if softmax.cross_batch_memory:
        memory = negative_columns.CrossBatchMemory(softmax.cross_batch_memory, embedding_dim)
    return NegativeSampling(
        corpus_tokens,
        num_candidates,
        softmax.num_uniform_negatives,
        frequency,
        known_positives,
        memory,
        seed,
    )
