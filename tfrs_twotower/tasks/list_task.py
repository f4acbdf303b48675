"""The pre-ranking task: from the pair scores of a positive and its mined list to a loss."""

from typing import Literal

import tensorflow as tf
import tensorflow_recommenders as tfrs
from typing_extensions import assert_never

from tfrs_twotower.keras_api import keras
from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.losses.list_losses import binary_cross_entropy, listwise_kl, margin_mse
from tfrs_twotower.tasks.objective import EmbeddedBatch, weighted_mean

ListLoss = Literal["list_softmax", "pointwise", "listwise_kl", "margin_mse"]


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
            kind: the loss, and the name of the term in the log.
            weight: of the term.
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
        listed = batch.mined
        if listed is None:
            raise ValueError(f"{self._kind} needs mined lists, and the batch has none")
        return self.losses_per_list(listed.logits, present=listed.present, teacher=listed.teacher)

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
            ValueError: the loss distils, and there is no teacher.
        """
        if self._kind == "list_softmax":
            hidden = None if present is None else tf.logical_not(present)
            first = tf.zeros(tf.shape(logits)[:1], tf.int32)
            return in_batch_softmax(logits, hidden=hidden, positive_columns=first)
        if self._kind == "pointwise":
            labels = tf.one_hot(tf.zeros(tf.shape(logits)[:1], tf.int32), tf.shape(logits)[1])
            return binary_cross_entropy(logits, labels, present=present)
        if teacher is None:
            raise ValueError(f"{self._kind} needs a teacher's scores; set mining.teacher")
        if self._kind == "listwise_kl":
            return listwise_kl(
                logits, teacher, teacher_temperature=self._teacher_temperature, present=present
            )
        if self._kind == "margin_mse":
            return margin_mse(logits, teacher / self._teacher_temperature, present=present)
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
