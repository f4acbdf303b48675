"""The objective: an embedded batch, the terms that read it, and their weighted sum."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import tensorflow as tf

from tfrs_twotower.features.tower_inputs import Tokens
from tfrs_twotower.towers.narrow import narrowed
from tfrs_twotower.towers.tower import TowerOutput


@dataclass(frozen=True)
class MinedLists:
    """The mined candidates of this replica's rows: each row's list, and all lists together.

    Attributes:
        candidates: the candidate tower's output for the distinct candidates, `[listed, ...]`.
        hidden: `[batch, listed]` bool: mask of pairs that must not count as negatives.
        present: `[batch, 1 + n]` bool: false at the padding of a short list.
        logits: `[batch, 1 + n]` pair scores of the positive and the list.
        teacher: `[batch, 1 + n]` the teacher's scores of the same candidates; None without one.
    """

    candidates: TowerOutput
    hidden: tf.Tensor
    present: tf.Tensor
    logits: tf.Tensor
    teacher: tf.Tensor | None = None


class Views(NamedTuple):
    """Embeddings of the further views of a batch; None for a side without any."""

    query: tf.Tensor | None
    """`[batch, embedding_dim]`, of this replica's rows."""
    all_candidate: tf.Tensor | None
    """`[all, embedding_dim]`, of the positives of all replicas."""


@dataclass(frozen=True)
class MinedNegatives:
    """Negatives that were mined for each row, and count for this row only.

    Attributes:
        candidates: `[batch, n, embedding_dim]`.
        present: `[batch, n]` bool, false at the padding of a short list.
        queries: `[batch, n, embedding_dim]`: negatives of each row's candidate; None without them.
        queries_present: `[batch, n]` bool; None without mined queries.
    """

    candidates: tf.Tensor
    present: tf.Tensor
    queries: tf.Tensor | None = None
    queries_present: tf.Tensor | None = None

    def narrowed(self, width: int) -> "MinedNegatives":
        """The same with the first entries of all embeddings, L2-normalised."""
        queries = None if self.queries is None else narrowed(self.queries, width)
        return replace(self, candidates=narrowed(self.candidates, width), queries=queries)


@dataclass(frozen=True)
class EmbeddedBatch:
    """The inputs of every term for one step: both towers' outputs for a batch of positive pairs.

    `batch` is this replica's share of the global batch; `all` means all replicas, in their order.
    Row i's own pair has position `positive_columns[i]` in every axis named `all`.

    Attributes:
        query: the query tower's output, `[batch, ...]`.
        candidate: the candidate tower's output for the positives, `[batch, ...]`.
        query_tokens: tokens of the queries by name, `[batch, ...]`.
        query_rows: `[batch]` int32.
        candidate_rows: `[batch]` int32, rows of the positives.
        all_query: the query tower's output, `[all, ...]`.
        all_candidate: the candidate tower's output, `[all, ...]`.
        all_candidate_tokens: tokens of the positives by name, `[all, ...]`.
        all_query_rows: `[all]` int32.
        all_candidate_rows: `[all]` int32.
        positive_columns: `[batch]` int32.
        drawn: the candidate tower's output for uniformly drawn candidates; None without them.
        columns: `[columns, embedding_dim]`: all candidates, then the drawn ones, then those of
            earlier batches.
        expected: `[columns]` expected occurrences, for the logQ correction; None omits it.
        sampled_expected: the same for all candidates and the drawn ones, without earlier batches.
        hidden: `[batch, columns]` bool: mask of candidates that must not count as negatives of
            the query.
        reverse_hidden: `[batch, all]` bool: mask of queries that must not count as negatives of
            the candidate.
        mined: mined candidates; None if none were mined.
        views: further views of the texts; None without the term that reads them.
        negatives: negatives of the embeddings' softmax, mined in rounds; None without rounds.
    """

    query: TowerOutput
    candidate: TowerOutput
    query_tokens: Tokens
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
    mined: MinedLists | None = None
    views: Views | None = None
    negatives: MinedNegatives | None = None

    def in_batch_columns(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the part `[..., all]` of `[..., columns]` that belongs to `all_candidate`."""
        return values[..., : tf.shape(self.all_candidate_rows)[0]]

    def narrowed(self, width: int) -> "EmbeddedBatch":
        """The batch with the first entries of all embeddings, L2-normalised."""

        def narrow(output: TowerOutput) -> TowerOutput:
            return output._replace(embedding=narrowed(output.embedding, width))

        return replace(
            self,
            query=narrow(self.query),
            candidate=narrow(self.candidate),
            all_query=narrow(self.all_query),
            all_candidate=narrow(self.all_candidate),
            columns=narrowed(self.columns, width),
            negatives=None if self.negatives is None else self.negatives.narrowed(width),
        )

    @property
    def same_query_or_positive(self) -> tf.Tensor:
        """`[batch, all]` bool: pairs of rows with the same query or positive, each row with itself.

        Neither tower should push such rows apart: they are the false negatives of SamToNe.
        """
        same_query = self.query_rows[:, tf.newaxis] == self.all_query_rows[tf.newaxis, :]
        same_positive = self.candidate_rows[:, tf.newaxis] == self.all_candidate_rows[tf.newaxis, :]
        return tf.logical_or(same_query, same_positive)


class Term(Protocol):
    """One named, weighted summand of the objective: a loss for each row of a batch."""

    name: str
    weight: float

    def losses_of(self, batch: EmbeddedBatch) -> tf.Tensor:
        """Returns `[batch]` losses; the objective logs and adds up their weighted mean."""


class Objective:
    """The weighted sum of the terms' means; a term of weight 0 is absent.

    Terms are means, never sums: with sums, the weights between terms would depend on the batch
    size.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        """Takes the weights of the terms.

        Args:
            weights: weight of each term, >= 0.

        Raises:
            ValueError: a weight is negative, or all are 0.
        """
        negative = [name for name, weight in weights.items() if not weight >= 0.0]
        if negative or not any(weights.values()):
            raise ValueError(
                f"term weights are {dict(weights)}; none may be negative, and one must be above 0"
            )
        self.weights = {name: weight for name, weight in weights.items() if weight > 0.0}

    def __call__(
        self,
        losses: Mapping[str, tf.Tensor],
        sample_weight: tf.Tensor | None = None,
        *,
        total_weight: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the weighted sum of the terms' means, each sum_i w_i L_i / sum_i w_i.

        Args:
            losses: `[batch]` for each term, by name.
            sample_weight: `[batch]` >= 0; 1 by default. If all are 0, the mean is 0.
            total_weight: divisor of the means; by default the sum of `sample_weight`. A replica
                passes the sum over all replicas, so that its result is its share of the mean.

        Returns:
            The objective, and the mean of each term by its name (before its weight).

        Raises:
            ValueError: the losses are not exactly the terms of the objective.
        """
        if set(losses) != set(self.weights):
            raise ValueError(
                f"losses are given for {sorted(losses)}; the objective has {sorted(self.weights)}"
            )
        means = {
            name: weighted_mean(loss, sample_weight, total_weight=total_weight)
            for name, loss in losses.items()
        }
        return tf.add_n([self.weights[name] * mean for name, mean in means.items()]), means


def weighted_mean(
    losses: tf.Tensor,
    sample_weight: tf.Tensor | None = None,
    *,
    total_weight: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns sum_i w_i L_i / sum_i w_i, or 0 if all weights are 0.

    Args:
        losses: `[batch]`.
        sample_weight: `[batch]`; 1 by default.
        total_weight: divisor instead of the sum of the weights.

    Returns:
        A scalar.
    """
    if sample_weight is None:
        sample_weight = tf.ones_like(losses)
    sample_weight = tf.cast(sample_weight, losses.dtype)
    if total_weight is None:
        total_weight = tf.reduce_sum(sample_weight)
    # A row of weight 0 is absent even if its loss is NaN.
    weighted = tf.math.multiply_no_nan(losses, sample_weight)
    return tf.math.divide_no_nan(tf.reduce_sum(weighted), tf.cast(total_weight, losses.dtype))
