"""The model that is trained: two towers, the terms of the objective, and the negatives."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_twotower.tasks.objective import InBatch, Listed, Objective, Term
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers.tower import TowerOutput, Towers
from tfrs_twotower.training.negatives import NegativeSampling
from tfrs_twotower.training.optimizers import clip, settle
from tfrs_twotower.training.replicas import (
    all_gather,
    num_replicas,
    own_share,
    replica_id,
    sum_over_replicas,
)


class TwoTowerModel(tfrs.Model):
    """Two towers under a weighted sum of terms, the retrieval softmax first.

    A batch is a dict of

        tokens           of the query tower, `[batch, ...]` by name
        query_rows       `[batch]` int32
        candidate_rows   `[batch]` int32, the positives
        weights          `[batch]` float32
        step             `[batch]` int64, all the same, counted from 1
        listed_rows      `[batch, n]` int32, mined candidates, -1 for padding (pre-ranking only)
        teacher          `[batch, 1 + n]` float32, of the positive and these (with a teacher)

    With several replicas `batch` is this replica's share; candidates are gathered from all.
    """

    def __init__(
        self,
        towers: Towers,
        *,
        task: RetrievalTask,
        sampling: NegativeSampling,
        terms: Sequence[Term] = (),
        clip_norm: float | None = None,
    ) -> None:
        """Puts the parts together.

        Args:
            towers: what is trained.
            task: the retrieval task.
            sampling: the negatives.
            terms: what is trained beside it.
            clip_norm: largest global norm of the gradient.
        """
        super().__init__(name="two_tower")
        self.towers = towers
        self.task = task
        every: tuple[Term, ...] = (task, *terms)
        self._terms = tuple(term for term in every if term.weight > 0.0)
        self._objective = Objective({term.name: term.weight for term in self._terms})
        self._sampling = sampling
        self._state = sampling.state
        self._clip_norm = clip_norm

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> tf.Tensor:
        """The objective of a batch, a scalar; a replica's share of it if there are several."""
        return self.terms(inputs, training=training)[0]

    def terms(
        self, inputs: dict[str, Any], training: bool = False
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """The objective and the mean of each of its terms.

        Args:
            inputs: a batch.
            training: whether dropout is on, and what is remembered of a step is updated.

        Returns:
            A scalar, and scalars by name.
        """
        batch = self._embed(inputs, training)
        weights = inputs["weights"]
        total_weight = sum_over_replicas(tf.reduce_sum(weights))
        losses = {term.name: term.losses_of(batch) for term in self._terms}
        total, means = self._objective(losses, weights, total_weight=total_weight)
        if self.losses:
            total += tf.add_n([tf.reduce_sum(loss) for loss in self.losses]) / num_replicas()
        if training:
            self._sampling.remember(batch.all_candidate.embedding, batch.all_candidate_rows)
            self.towers.observe(batch.all_candidate_tokens, batch.all_candidate.embedding)
        return total, means

    def train_step(self, inputs: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One update.

        Returns:
            `loss`, each term by name, and `gradient_norm` before clipping; the losses are this
            replica's share.
        """
        with tf.GradientTape() as tape:
            total, means = self.terms(inputs, training=True)
        norm = apply_gradients(
            tape, total, self.trainable_variables, self.optimizer, self._clip_norm
        )
        return {"loss": total, **means, "gradient_norm": norm}

    def _embed(self, inputs: dict[str, Any], training: bool) -> InBatch:
        sampling = self._sampling
        step = inputs["step"][0]
        query_rows, rows = inputs["query_rows"], inputs["candidate_rows"]
        local = tf.shape(rows)[0]
        drawn = sampling.draw(step)
        own_drawn = own_share(drawn)
        tokens = sampling.tokens_of(tf.concat([rows, own_drawn], axis=0))
        query = self.towers.query.encode(inputs["tokens"], training=training)
        embedded = self.towers.candidate.encode(tokens, training=training)
        candidate = _first(embedded, local)
        all_query, all_candidate = _gather(query), _gather(candidate)
        all_query_rows, all_rows = all_gather(query_rows), all_gather(rows)
        columns = [all_candidate.embedding]
        all_drawn = None
        if sampling.num_uniform:
            all_drawn = _gather(_from(embedded, local))
            columns.append(all_drawn.embedding)
        sampled_rows = every_row = tf.concat([all_rows, drawn], axis=0)
        if sampling.memory is not None:
            remembered, remembered_rows = sampling.memory.read()
            columns.append(remembered)
            every_row = tf.concat([sampled_rows, remembered_rows], axis=0)
        if training:
            sampling.count(all_rows, step)
        return InBatch(
            query=query,
            candidate=candidate,
            query_rows=query_rows,
            candidate_rows=rows,
            all_query=all_query,
            all_candidate=all_candidate,
            all_candidate_tokens={
                name: all_gather(values[:local]) for name, values in tokens.items()
            },
            all_query_rows=all_query_rows,
            all_candidate_rows=all_rows,
            positive_columns=replica_id() * local + tf.range(local),
            drawn=all_drawn,
            columns=tf.concat(columns, axis=0),
            expected=sampling.expected(every_row, tf.shape(all_rows)[0]),
            sampled_expected=sampling.expected(sampled_rows, tf.shape(all_rows)[0]),
            hidden=sampling.hidden(query_rows, rows, every_row),
            reverse_hidden=tf.transpose(sampling.hidden(all_query_rows, all_rows, rows)),
            listed=self._embed_lists(inputs, query, candidate, training),
        )

    def _embed_lists(
        self, inputs: dict[str, Any], query: TowerOutput, positive: TowerOutput, training: bool
    ) -> Listed | None:
        if "listed_rows" not in inputs:
            return None
        sampling, rows = self._sampling, inputs["listed_rows"]
        # Padding stays a value of its own, which is hidden from all; its tokens do not matter.
        distinct, places = tf.unique(tf.reshape(rows, [-1]))
        places = tf.reshape(places, tf.shape(rows))
        tokens = sampling.tokens_of(tf.maximum(distinct, 0))
        candidates = self.towers.candidate.encode(tokens, training=training)
        heads = tf.concat(
            [positive.heads[:, tf.newaxis], tf.gather(candidates.heads, places)], axis=1
        )
        present = rows >= 0
        return Listed(
            candidates=candidates,
            hidden=sampling.hidden(inputs["query_rows"], inputs["candidate_rows"], distinct),
            present=tf.concat([tf.ones_like(present[:, :1]), present], axis=1),
            logits=self.towers.scorer(query.heads, heads),
            teacher=inputs.get("teacher"),
        )


def apply_gradients(
    tape: tf.GradientTape,
    loss: tf.Tensor,
    variables: Sequence[tf.Variable],
    optimizer: Any,
    clip_norm: float | None,
) -> tf.Tensor:
    """Moves the variables down the loss's gradient; those that it does not reach stay.

    Returns:
        The gradient's global norm before clipping; this replica's share of it.
    """
    gradients = tape.gradient(loss, variables)
    moved = [
        (settle(gradient, variable), variable)
        for gradient, variable in zip(gradients, variables, strict=True)
        if gradient is not None
    ]
    clipped, norm = clip([gradient for gradient, _ in moved], clip_norm)
    optimizer.apply_gradients(
        [(gradient, variable) for gradient, (_, variable) in zip(clipped, moved, strict=True)],
        skip_gradients_aggregation=True,
    )
    return norm / num_replicas()


def _first(output: TowerOutput, count: tf.Tensor) -> TowerOutput:
    return TowerOutput(*(None if part is None else part[:count] for part in output))


def _from(output: TowerOutput, start: tf.Tensor) -> TowerOutput:
    return TowerOutput(*(None if part is None else part[start:] for part in output))


def _gather(output: TowerOutput) -> TowerOutput:
    return TowerOutput(*(None if part is None else all_gather(part) for part in output))
