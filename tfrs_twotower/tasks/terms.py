"""Terms of the objective besides retrieval (DANCE, DAT, CIR, FE-Block), and of mined lists."""

from collections.abc import Mapping
from typing import Literal

import tensorflow as tf
import tensorflow_recommenders as tfrs
from typing_extensions import assert_never

from tfrs_twotower.config import (
    CategoryAlignmentConfig,
    ContrastiveInteractionConfig,
    MatryoshkaConfig,
)
from tfrs_twotower.keras_api import keras
from tfrs_twotower.layers.all_pairs import inner_products
from tfrs_twotower.layers.text_encoders import TextField
from tfrs_twotower.losses import list_losses, softmax_variants
from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.losses.query_reconstruction import joined_tokens, query_reconstruction
from tfrs_twotower.tasks.objective import EmbeddedBatch, weighted_mean
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers.tower import PairScorer

ListLoss = Literal["list_softmax", "pointwise", "listwise_kl", "margin_mse"]


class DualTerm:
    """Cross entropy of the positive's query against other queries (Li et al., ICTIR 2021).

    Together with the retrieval softmax it makes the symmetric loss: transposing the scores swaps
    the two terms. Other queries that share the positive do not count as negatives; queries that
    were mined for the candidate do.
    """

    name = "dual"

    def __init__(self, weight: float, retrieval: RetrievalTask) -> None:
        """Makes the term; it uses the temperature of the retrieval term."""
        self.weight = weight
        self._retrieval = retrieval

    def losses_of(self, batch: EmbeddedBatch) -> tf.Tensor:
        """Returns `[batch]`: the loss of each row's candidate."""
        scores = inner_products(batch.candidate.embedding, batch.all_query.embedding)
        losses = in_batch_softmax(
            scores,
            temperature=self._retrieval.temperature,
            hidden=batch.reverse_hidden,
            positive_columns=batch.positive_columns,
        )
        mined = batch.negatives
        if mined is None or mined.queries is None:
            return losses
        margins = softmax_variants.mined_margins(
            batch.candidate.embedding,
            batch.query.embedding,
            mined.queries,
            mined.queries_present,
            temperature=self._retrieval.temperature,
        )
        return softmax_variants.with_mined(losses, margins)


class MatryoshkaTerm:
    """The retrieval softmax of the vectors' first entries (Kusupati et al., NeurIPS 2022)."""

    name = "matryoshka"

    def __init__(self, config: MatryoshkaConfig, retrieval: RetrievalTask) -> None:
        """Makes the term; it has temperature and corrections of the retrieval term."""
        self.weight = config.weight
        self._widths = config.widths
        self._retrieval = retrieval

    def losses_of(self, batch: EmbeddedBatch) -> tf.Tensor:
        """Returns `[batch]`: the mean of the widths' losses of each query."""
        losses = [self._retrieval.losses_of(batch.narrowed(width)) for width in self._widths]
        return tf.add_n(losses) / len(losses)


class MimicTerm:
    """Makes a side's augmented vectors imitate the other tower (Yu et al., DLP-KDD 2021)."""

    def __init__(self, side: Literal["query", "candidate"], weight: float) -> None:
        """Makes the term of one side."""
        self.name = f"mimic_{side}"
        self.weight = weight
        self._side = side

    def losses_of(self, batch: EmbeddedBatch) -> tf.Tensor:
        """Returns `[batch]` squared distances; all rows are positive pairs."""
        if self._side == "query":
            return list_losses.mimic(batch.query.augmented, batch.candidate.embedding)
        return list_losses.mimic(batch.candidate.augmented, batch.query.embedding)


class CategoryAlignmentTerm:
    """Pulls the covariances of categories towards the largest one's (Yu et al., DLP-KDD 2021).

    The loss is one number for the whole global batch. It is repeated for every row, so that the
    mean over the rows equals it.
    """

    name = "category_alignment"

    def __init__(self, config: CategoryAlignmentConfig) -> None:
        """Makes the term."""
        self.weight = config.weight
        self._config = config

    def losses_of(self, batch: EmbeddedBatch) -> tf.Tensor:
        """Returns `[batch]`, all equal."""
        value = list_losses.category_alignment(
            batch.all_candidate.embedding,
            batch.all_candidate_tokens[self._config.feature],
            batch.all_candidate_rows,
            scale_by_dim=self._config.scale_by_dim,
            stop_major_gradient=self._config.stop_major_gradient,
        )
        return tf.fill(tf.shape(batch.query_rows), value)


class QueryReconstructionTerm:
    """The query's tokens, predicted by the slots of its positive (Duan, Xie, Du 2025).

    The true query enters here and nowhere on the candidate's side. Of a candidate with several
    texts each predicts the query, and their losses are averaged.
    """

    name = "query_reconstruction"

    def __init__(self, weight: float, texts: Mapping[str, TextField]) -> None:
        """Makes the term; `texts` are the encoders of the query's texts, of one vocabulary.

        The output layer of the slots is the table of the first one.
        """
        self.weight = weight
        self._texts = dict(texts)

    def losses_of(self, batch: EmbeddedBatch) -> tf.Tensor:
        """Returns `[batch]` losses; all rows are positive pairs."""
        tokens = joined_tokens([batch.query_tokens[name] for name in self._texts])
        table = next(iter(self._texts.values())).token_table
        of_texts = [
            query_reconstruction(states, table, tokens)
            for states in tf.unstack(batch.candidate.slots, axis=1)
        ]
        return tf.add_n(of_texts) / len(of_texts)


class ContrastiveInteractionTerm:
    """InfoNCE between the flattened heads of both towers' last layers (Li et al., CIKM 2022)."""

    name = "contrastive_interaction"

    def __init__(self, config: ContrastiveInteractionConfig) -> None:
        """Makes the term."""
        self.weight = config.weight
        self._temperature = config.temperature

    def losses_of(self, batch: EmbeddedBatch) -> tf.Tensor:
        """Returns `[batch]` losses; all rows are positive pairs."""
        candidate_heads = batch.all_candidate.heads
        return list_losses.contrastive_interaction(
            batch.query.heads[:, -candidate_heads.shape[1] :],
            candidate_heads,
            temperature=self._temperature,
            hidden=batch.in_batch_columns(batch.hidden),
            positive_columns=batch.positive_columns,
        )


class InteractionTerm:
    """Softmax of pair scores over the batch's candidates, drawn candidates, and all mined lists.

    The logQ correction applies to sampled candidates only; mined candidates were chosen for their
    high scores, and get no correction.
    """

    name = "interaction"

    def __init__(self, weight: float, scorer: PairScorer, logq_strength: float) -> None:
        """Makes the term; the scale of the scorer replaces a temperature."""
        self.weight = weight
        self._scorer = scorer
        self._logq_strength = logq_strength

    def losses_of(self, batch: EmbeddedBatch) -> tf.Tensor:
        """Returns `[batch]` losses of each query's positive."""
        heads = batch.all_candidate.heads
        if batch.drawn is not None:
            heads = tf.concat([heads, batch.drawn.heads], axis=0)
        hidden = batch.hidden[:, : tf.shape(heads)[0]]
        expected = batch.sampled_expected
        if batch.mined is not None:
            mined = batch.mined.candidates.heads
            heads = tf.concat([heads, mined], axis=0)
            hidden = tf.concat([hidden, batch.mined.hidden], axis=1)
            if expected is not None:
                expected = tf.concat([expected, tf.ones([tf.shape(mined)[0]])], axis=0)
        return in_batch_softmax(
            self._scorer.all_pairs(batch.query.heads, heads),
            sampling_probability=expected,
            logq_strength=self._logq_strength,
            hidden=hidden,
            positive_columns=batch.positive_columns,
        )


class PreRankingTask(keras.layers.Layer, tfrs.tasks.Task):
    """One loss over lists [positive, mined negatives]; several tasks make the objective.

    `list_softmax`: cross entropy of the positive. `pointwise`: binary cross entropy, with the mined
    candidates as un-exposed negatives. `listwise_kl`, `margin_mse`: distillation from a teacher's
    scores of the same list.
    """

    def __init__(
        self, kind: ListLoss, *, weight: float = 1.0, teacher_temperature: float = 1.0
    ) -> None:
        """Makes the task.

        Args:
            kind: the loss, which is also the name of the term in the log.
            weight: weight of the term.
            teacher_temperature: divisor of the teacher's scores.
        """
        super().__init__(name=kind, dtype="float32")
        self.weight = weight
        self._kind: ListLoss = kind
        self._teacher_temperature = teacher_temperature

    def losses_of(self, batch: EmbeddedBatch) -> tf.Tensor:
        """Returns `[batch]`: the loss of each row's list.

        Raises:
            ValueError: the batch has no lists, or the loss needs a teacher and the batch has none.
        """
        mined = batch.mined
        if mined is None:
            raise ValueError(f"{self._kind} needs mined lists, and the batch has none")
        return self.losses_per_list(mined.logits, present=mined.present, teacher=mined.teacher)

    def losses_per_list(
        self,
        logits: tf.Tensor,
        *,
        present: tf.Tensor | None = None,
        teacher: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns the loss of each list.

        Args:
            logits: `[batch, 1 + n]`, the positive first.
            present: `[batch, 1 + n]` bool; all are present by default.
            teacher: `[batch, 1 + n]` scores of the teacher.

        Returns:
            `[batch]`.

        Raises:
            ValueError: the loss distils from a teacher, and no teacher's scores are given.
        """
        if self._kind == "list_softmax":
            hidden = None if present is None else tf.logical_not(present)
            first = tf.zeros(tf.shape(logits)[:1], tf.int32)
            return in_batch_softmax(logits, hidden=hidden, positive_columns=first)
        if self._kind == "pointwise":
            labels = tf.one_hot(tf.zeros(tf.shape(logits)[:1], tf.int32), tf.shape(logits)[1])
            return list_losses.binary_cross_entropy(logits, labels, present=present)
        if teacher is None:
            raise ValueError(f"{self._kind} needs a teacher's scores; set mining.teacher")
        if self._kind == "listwise_kl":
            return list_losses.listwise_kl(
                logits, teacher, teacher_temperature=self._teacher_temperature, present=present
            )
        if self._kind == "margin_mse":
            return list_losses.margin_mse(
                logits, teacher / self._teacher_temperature, present=present
            )
        assert_never(self._kind)

    def call(
        self,
        logits: tf.Tensor,
        teacher: tf.Tensor | None = None,
        present: tf.Tensor | None = None,
        sample_weight: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Returns the mean loss, a float32 scalar; see `losses_per_list` for the arguments."""
        losses = self.losses_per_list(logits, present=present, teacher=teacher)
        return weighted_mean(losses, sample_weight)
