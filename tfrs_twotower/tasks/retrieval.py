"""The retrieval task: from query and candidate embeddings to a loss."""

import math
from typing import Any, Literal

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_twotower.keras_api import keras
from tfrs_twotower.layers.all_pairs import inner_products
from tfrs_twotower.losses import negative_columns, softmax_variants
from tfrs_twotower.losses.in_batch_softmax import (
    correct_logits,
    in_batch_softmax,
    keep_hardest,
    masked_logits,
)
from tfrs_twotower.tasks.objective import EmbeddedBatch, weighted_mean

LEAST_TEMPERATURE = 0.01


class AtLeast(keras.constraints.Constraint):
    """Constrains a weight to be at least a given value."""

    def __init__(self, least: float) -> None:
        self.least = least

    def __call__(self, weight: tf.Tensor) -> tf.Tensor:
        """Returns the weight, or the least value if that is larger."""
        return tf.maximum(weight, self.least)

    def get_config(self) -> dict[str, Any]:
        """Returns the settings, as Keras requires."""
        return {"least": self.least}


class RetrievalTask(keras.layers.Layer, tfrs.tasks.Task):
    """In-batch softmax in place of `tfrs.tasks.Retrieval` (TFRS 0.7.7).

    It takes the arguments of TFRS's task, and differs where that one is wrong for our use:

    *   the loss is a (weighted) mean; TFRS sums, so the effective learning rate depends on the
        batch size;
    *   probabilities are not clipped at 1e-6, which would treat the whole tail alike;
    *   masked candidates get -inf in a log-sum-exp, hence probability and gradient exactly 0;
        TFRS adds about -3.4e36;
    *   `num_hard_negatives=0` is refused; TFRS then silently returns a loss of 0;
    *   the positive may be in any column, so negatives can be shared across replicas; TFRS has a
        function for this, but does not call it;
    *   half-precision embeddings are cast to float32; TFRS casts only its first input;
    *   it computes no metrics: those of TFRS count ties as hits and never exclude seen candidates.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        temperature: float = 1.0,
        learn_temperature: bool = False,
        logq_strength: float = 1.0,
        refined_logq: bool = False,
        num_hard_negatives: int | None = None,
        same_tower: Literal["none", "query", "both"] = "none",
        same_tower_weight: float = 1.0,
        name: str = "retrieval",
    ) -> None:
        """Makes the task.

        Args:
            weight: weight of the term in an objective.
            temperature: divisor of the scores, at least 0.01.
            learn_temperature: makes log(temperature) a weight; it cannot fall below log(0.01).
            logq_strength: multiplier of the logQ correction.
            refined_logq: leaves the positive out of the correction (`refined_softmax`).
            num_hard_negatives: number of negatives with the largest logits that are kept; None
                keeps all.
            same_tower: SamToNe, in one direction or in both.
            same_tower_weight: multiplier of the same-tower part of the denominator.
            name: name of the layer, and of the term in the log.

        Raises:
            ValueError: the temperature is below 0.01, the number of negatives is below 1, or two of
                refined logQ, hard negatives and SamToNe are set, which are different forms of the
                same denominator.
        """
        super().__init__(name=name, dtype="float32")
        if not temperature >= LEAST_TEMPERATURE:
            raise ValueError(f"temperature is {temperature}; it must be at least 0.01")
        if num_hard_negatives is not None and num_hard_negatives < 1:
            raise ValueError(
                f"num_hard_negatives is {num_hard_negatives}; it must be at least 1, or None to "
                "keep all negatives"
            )
        forms = (refined_logq, num_hard_negatives is not None, same_tower != "none")
        if sum(forms) > 1:
            raise ValueError(
                "refined_logq, num_hard_negatives and same_tower exclude each other; choose one"
            )
        self.weight = weight
        self._refined_logq = refined_logq
        self._same_tower = same_tower
        self._same_tower_weight = same_tower_weight
        self._fixed_temperature = temperature
        self._logq_strength = logq_strength
        self._num_hard_negatives = num_hard_negatives
        self._log_temperature = None
        if learn_temperature:
            self._log_temperature = self.add_weight(
                name="log_temperature",
                shape=(),
                initializer=keras.initializers.Constant(math.log(temperature)),
                constraint=AtLeast(math.log(LEAST_TEMPERATURE)),
            )

    @property
    def temperature(self) -> tf.Tensor:
        """The current temperature, a float32 scalar."""
        if self._log_temperature is None:
            return tf.constant(self._fixed_temperature, tf.float32)
        return tf.exp(self._log_temperature)

    def losses_of(self, batch: EmbeddedBatch) -> tf.Tensor:
        """Returns `[batch]`: the loss of each query of a training batch."""
        margins = None
        if batch.negatives is not None:
            margins = softmax_variants.mined_margins(
                batch.query.embedding,
                batch.candidate.embedding,
                batch.negatives.candidates,
                batch.negatives.present,
                temperature=self.temperature,
            )
        if self._same_tower == "none":
            return self.losses_per_query(
                batch.query.embedding,
                batch.columns,
                sampling_probability=batch.expected,
                hidden=batch.hidden,
                positive_columns=batch.positive_columns,
                margins=margins,
            )
        queries, candidates = batch.query.embedding, batch.candidate.embedding
        all_queries, all_candidates = batch.all_query.embedding, batch.all_candidate.embedding
        losses = self._same_tower_losses(
            batch,
            inner_products(queries, batch.columns),
            inner_products(queries, all_queries),
            batch.hidden,
            batch.expected,
        )
        if margins is not None:
            losses = softmax_variants.with_mined(losses, margins)
        if self._same_tower == "both":
            losses += self._same_tower_losses(
                batch,
                inner_products(candidates, all_queries),
                inner_products(candidates, all_candidates),
                batch.reverse_hidden,
                None,
            )
        return losses

    def _same_tower_losses(
        self,
        batch: EmbeddedBatch,
        scores: tf.Tensor,
        same_tower_scores: tf.Tensor,
        hidden: tf.Tensor,
        expected: tf.Tensor | None,
    ) -> tf.Tensor:
        return softmax_variants.same_tower_softmax(
            scores,
            same_tower_scores,
            temperature=self.temperature,
            sampling_probability=expected,
            logq_strength=self._logq_strength,
            hidden=hidden,
            same_tower_hidden=batch.same_query_or_positive,
            positive_columns=batch.positive_columns,
            same_tower_weight=self._same_tower_weight,
        )

    def losses_per_query(
        self,
        query_embeddings: tf.Tensor,
        candidate_embeddings: tf.Tensor,
        *,
        sampling_probability: tf.Tensor | None = None,
        hidden: tf.Tensor | None = None,
        positive_columns: tf.Tensor | None = None,
        margins: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns the loss of each query, without same-tower negatives.

        Args:
            query_embeddings: `[batch, embedding_dim]`.
            candidate_embeddings: `[columns, embedding_dim]`.
            sampling_probability: `[columns]`, > 0: expected occurrences. A common factor changes
                nothing, except with refined logQ.
            hidden: `[batch, columns]` bool: mask of pairs that must not count as negatives.
            positive_columns: `[batch]` int; by default column i for row i.
            margins: `[batch, n]` of mined negatives, see `mined_margins`; None without them.

        Returns:
            `[batch]` float32.
        """
        # Not the scores are divided by the temperature, which are far more numbers.
        scores = inner_products(
            tf.cast(query_embeddings, tf.float32) / self.temperature,
            tf.cast(candidate_embeddings, tf.float32),
        )
        corrections: dict[str, Any] = {
            "sampling_probability": sampling_probability,
            "logq_strength": self._logq_strength,
        }
        shown: dict[str, Any] = {"hidden": hidden, "positive_columns": positive_columns}
        if self._refined_logq:
            return softmax_variants.refined_softmax(scores, margins=margins, **corrections, **shown)
        if self._num_hard_negatives is None:
            losses = in_batch_softmax(scores, **corrections, **shown)
            return losses if margins is None else softmax_variants.with_mined(losses, margins)
        corrected = correct_logits(scores, **corrections)
        logits, _, positive_columns = masked_logits(corrected, hidden, positive_columns)
        logits = keep_hardest(
            logits,
            num_hard_negatives=self._num_hard_negatives,
            positive_columns=positive_columns,
        )
        losses = in_batch_softmax(logits, positive_columns=positive_columns)
        return losses if margins is None else softmax_variants.with_mined(losses, margins)

    def call(
        self,
        query_embeddings: tf.Tensor,
        candidate_embeddings: tf.Tensor,
        sample_weight: tf.Tensor | None = None,
        candidate_sampling_probability: tf.Tensor | None = None,
        candidate_ids: tf.Tensor | None = None,
        score_mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns the mean loss, with the arguments of `tfrs.tasks.Retrieval.call`.

        Args:
            query_embeddings: `[batch, embedding_dim]`.
            candidate_embeddings: `[columns, embedding_dim]`, columns >= batch; candidate i is the
                positive of query i, and further candidates are negatives of all queries.
            sample_weight: `[batch]`.
            candidate_sampling_probability: `[columns]`, > 0.
            candidate_ids: `[columns]`, by which accidental hits are masked.
            score_mask: `[batch, columns]` bool, false for pairs that must not count.

        Returns:
            A float32 scalar.
        """
        hidden = None if score_mask is None else tf.logical_not(score_mask)
        if candidate_ids is not None:
            hits = negative_columns.accidental_hits(
                candidate_ids[: tf.shape(query_embeddings)[0]], candidate_ids
            )
            hidden = hits if hidden is None else tf.logical_or(hidden, hits)
        losses = self.losses_per_query(
            query_embeddings,
            candidate_embeddings,
            sampling_probability=candidate_sampling_probability,
            hidden=hidden,
        )
        return weighted_mean(losses, sample_weight)
