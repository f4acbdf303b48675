"""What one step shows to the terms of an objective: queries, candidates, and who is no negative."""

from dataclasses import dataclass

import tensorflow as tf

from tfrs_twotower.features.inputs import Tokens
from tfrs_twotower.towers.tower import TowerOutput


@dataclass(frozen=True)
class Listed:
    """Mined candidates of this replica's rows: each row's list, and all of them together.

    Attributes:
        candidates: the candidate tower's output for the distinct ones, `[listed, ...]`.
        hidden: `[batch, listed]` bool: no negatives of that query.
        present: `[batch, 1 + n]` bool: false at the padding of a short list.
        logits: `[batch, 1 + n]` pair scores of the positive and the list.
        teacher: `[batch, 1 + n]` the teacher's scores of the same; None without a teacher.
    """

    candidates: TowerOutput
    hidden: tf.Tensor
    present: tf.Tensor
    logits: tf.Tensor
    teacher: tf.Tensor | None = None


@dataclass(frozen=True)
class InBatch:
    """A batch of positive pairs after both towers.

    `batch` is this replica's share of the global batch; what is called `all` is of all replicas,
    in their order. Row i's own pair stands at `positive_columns[i]` of everything that is `all`.

    Attributes:
        query: the query tower's output, `[batch, ...]`.
        candidate: the candidate tower's output for the positives, `[batch, ...]`.
        query_rows: `[batch]` int32.
        candidate_rows: `[batch]` int32, the positives.
        all_query: the query tower's output, `[all, ...]`.
        all_candidate: the candidate tower's output, `[all, ...]`.
        all_candidate_tokens: tokens of the positives by name, `[all, ...]`.
        all_query_rows: `[all]` int32.
        all_candidate_rows: `[all]` int32.
        positive_columns: `[batch]` int32.
        drawn: the candidate tower's output for uniformly drawn candidates; None without them.
        columns: `[columns, embedding_dim]`: all candidates, then the drawn ones, then those of
            earlier batches.
        expected: `[columns]` how often each is met, for the logQ correction; None leaves it out.
        sampled_expected: the same of all candidates and the drawn ones, among themselves.
        hidden: `[batch, columns]` bool: no negatives of that query.
        reverse_hidden: `[batch, all]` bool: queries that are no negatives of that candidate.
        listed: mined candidates; None where none were mined.
    """

    query: TowerOutput
    candidate: TowerOutput
    query_rows: tf.Tensor
    candidate_rows: tf.Tensor
    all_query: TowerOutput
    all_candidate: TowerOutput
    all_candidate_tokens: Tokens
    all_query_rows: tf.Tensor
    all_candidate_rows: tf.Tensor
    positive_columns: tf.Tensor
    drawn: TowerOutput | None
    columns: tf.Tensor
    expected: tf.Tensor | None
    sampled_expected: tf.Tensor | None
    hidden: tf.Tensor
    reverse_hidden: tf.Tensor
    listed: Listed | None = None

    def in_batch(self, of_columns: tf.Tensor) -> tf.Tensor:
        """The part of `[..., columns]` that belongs to `all_candidate`."""
        return of_columns[..., : tf.shape(self.all_candidate_rows)[0]]

    @property
    def alike(self) -> tf.Tensor:
        """`[batch, all]` bool: rows of the same query, or with the same positive, also itself.

        Neither tower should push such rows apart (SamToNe's false negatives).
        """
        same_query = self.query_rows[:, tf.newaxis] == self.all_query_rows[tf.newaxis, :]
        same_positive = self.candidate_rows[:, tf.newaxis] == self.all_candidate_rows[tf.newaxis, :]
        return tf.logical_or(same_query, same_positive)
