"""Terms of the objective beside retrieval: dual (DANCE), mimic, alignment, CIR, FE-Block."""

from typing import Literal

import tensorflow as tf

from tfrs_twotower.config import CategoryAlignmentConfig, ContrastiveInteractionConfig
from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.losses.regularisers import category_alignment, contrastive_interaction, mimic
from tfrs_twotower.tasks.objective import EmbeddedBatch
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers.tower import PairScorer


class DualTerm:
    """Cross entropy of the positive's query against other queries (Li et al., ICTIR 2021).

    Together with the retrieval softmax it makes the symmetric loss: transposing the scores swaps
    the two terms. Queries of which the candidate is also a positive do not count as negatives.
    """

    name = "dual"

    def __init__(self, weight: float, retrieval: RetrievalTask) -> None:
        """Makes the term; it uses the temperature of the retrieval term."""
        self.weight = weight
        self._retrieval = retrieval

    def losses_of(self, batch: EmbeddedBatch) -> tf.Tensor:
        """Returns `[batch]`: the loss of each row's candidate."""
        scores = tf.matmul(batch.candidate.embedding, batch.all_query.embedding, transpose_b=True)
        return in_batch_softmax(
            scores,
            temperature=self._retrieval.temperature,
            hidden=batch.reverse_hidden,
            positive_columns=batch.positive_columns,
        )


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
            return mimic(batch.query.augmented, batch.candidate.embedding)
        return mimic(batch.candidate.augmented, batch.query.embedding)


class CategoryAlignmentTerm:
    """Draws the covariances of categories to that of the largest (Yu et al., DLP-KDD 2021).

    The loss is one number for the whole global batch. Every row carries it, so that the mean over
    the rows is this number.
    """

    name = "category_alignment"

    def __init__(self, config: CategoryAlignmentConfig) -> None:
        """Makes the term."""
        self.weight = config.weight
        self._config = config

    def losses_of(self, batch: EmbeddedBatch) -> tf.Tensor:
        """Returns `[batch]`, all equal."""
        value = category_alignment(
            batch.all_candidate.embedding,
            batch.all_candidate_tokens[self._config.feature],
            batch.all_candidate_rows,
            scale_by_dim=self._config.scale_by_dim,
            stop_major_gradient=self._config.stop_major_gradient,
        )
        return tf.fill(tf.shape(batch.query_rows), value)


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
        return contrastive_interaction(
            batch.query.heads[:, -candidate_heads.shape[1] :],
            candidate_heads,
            temperature=self._temperature,
            hidden=batch.in_batch_columns(batch.hidden),
            positive_columns=batch.positive_columns,
        )


class InteractionTerm:
    """Softmax of FE scores over the batch's candidates, drawn candidates, and all mined lists.

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
