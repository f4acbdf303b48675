"""The model that is trained: two towers, the retrieval task, and what it needs of the corpus."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_twotower.losses.masks import KnownPositives, accidental_hits
from tfrs_twotower.losses.sampling_probability import (
    CountedFrequency,
    StreamingFrequency,
    mixed_expectation,
    uniform_rows,
)
from tfrs_twotower.tasks.objective import Objective
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.training.gradients import clip, settle
from tfrs_twotower.training.replicas import (
    all_gather,
    num_replicas,
    own_share,
    replica_id,
    sum_over_replicas,
)


@dataclass(frozen=True)
class NegativeSampling:
    """Where negatives come from, what corrects them, and what hides them.

    Attributes:
        corpus_tokens: `[num_candidates, ...]` tokens of the candidate tower, by name.
        num_candidates: size of the corpus.
        num_uniform: candidates drawn uniformly for each global batch.
        frequency: source of the logQ correction; None leaves it out.
        known_positives: hidden from their query's negatives; None hides accidental hits only.
        seed: of everything that is drawn.
    """

    corpus_tokens: Mapping[str, tf.Tensor]
    num_candidates: int
    num_uniform: int = 0
    frequency: CountedFrequency | StreamingFrequency | None = None
    known_positives: KnownPositives | None = None
    seed: int = 0

    def tokens_of(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tokens of some candidates."""
        return {name: tf.gather(values, rows) for name, values in self.corpus_tokens.items()}


class TwoTowerModel(tfrs.Model):
    """Two towers under an in-batch softmax.

    A batch is a dict of

        tokens           of the query tower, `[batch, ...]` by name
        query_rows       `[batch]` int32
        candidate_rows   `[batch]` int32, the positives
        weights          `[batch]` float32
        step             `[batch]` int64, all the same, counted from 1

    With several replicas `batch` is this replica's share; candidates are gathered from all.
    """

    def __init__(
        self,
        query_tower: Any,
        candidate_tower: Any,
        *,
        task: RetrievalTask,
        sampling: NegativeSampling,
        clip_norm: float | None = None,
    ) -> None:
        """Puts the parts together.

        Args:
            query_tower: has `embed_tokens(tokens, training) -> [batch, embedding_dim]`.
            candidate_tower: the same for candidates.
            task: the retrieval task.
            sampling: the negatives.
            clip_norm: largest global norm of the gradient.
        """
        super().__init__(name="two_tower")
        self.query_tower = query_tower
        self.candidate_tower = candidate_tower
        self.task = task
        self._objective = Objective({task.name: 1.0})
        self._sampling = sampling
        self._frequency = sampling.frequency
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
            training: whether dropout is on and streaming frequencies are updated.

        Returns:
            A scalar, and scalars by name.
        """
        sampling = self._sampling
        step = inputs["step"][0]
        rows = inputs["candidate_rows"]
        drawn = uniform_rows(
            sampling.num_uniform,
            sampling.num_candidates,
            seed=tf.stack([tf.constant(sampling.seed, tf.int32), tf.cast(step, tf.int32)]),
        )
        own_drawn = own_share(drawn)
        queries = self.query_tower.embed_tokens(inputs["tokens"], training=training)
        candidates = self.candidate_tower.embed_tokens(
            sampling.tokens_of(tf.concat([rows, own_drawn], axis=0)),
            training=training,
        )
        local = tf.shape(rows)[0]
        all_rows = all_gather(rows)
        columns = tf.concat([all_rows, drawn], axis=0)
        embeddings = all_gather(candidates[:local])
        if sampling.num_uniform:
            embeddings = tf.concat([embeddings, all_gather(candidates[local:])], axis=0)
        losses = self.task.losses_per_query(
            queries,
            embeddings,
            sampling_probability=self._expected(all_rows, columns, step, training),
            hidden=self._hidden(inputs["query_rows"], rows, columns),
            positive_columns=replica_id() * local + tf.range(local),
        )
        weights = inputs["weights"]
        total_weight = sum_over_replicas(tf.reduce_sum(weights))
        total, means = self._objective({self.task.name: losses}, weights, total_weight=total_weight)
        if self.losses:
            total += tf.add_n([tf.reduce_sum(loss) for loss in self.losses]) / num_replicas()
        return total, means

    def train_step(self, inputs: dict[str, Any]) -> dict[str, tf.Tensor]:
        """One update.

        Returns:
            `loss`, each term by name, and `gradient_norm` before clipping; the losses are this
            replica's share.
        """
        with tf.GradientTape() as tape:
            total, means = self.terms(inputs, training=True)
        variables = self.trainable_variables
        gradients = tape.gradient(total, variables)
        moved = [
            (settle(gradient, variable), variable)
            for gradient, variable in zip(gradients, variables, strict=True)
            if gradient is not None
        ]
        clipped, norm = clip([gradient for gradient, _ in moved], self._clip_norm)
        self.optimizer.apply_gradients(
            [(gradient, variable) for gradient, (_, variable) in zip(clipped, moved, strict=True)],
            skip_gradients_aggregation=True,
        )
        return {"loss": total, **means, "gradient_norm": norm / num_replicas()}

    def _expected(
        self, all_rows: tf.Tensor, columns: tf.Tensor, step: tf.Tensor, training: bool
    ) -> tf.Tensor | None:
        sampling = self._sampling
        if sampling.frequency is None:
            return None
        if training:
            sampling.frequency.update(all_rows, step)
        expected = sampling.frequency.expected(columns)
        if not sampling.num_uniform:
            return expected
        return mixed_expectation(
            expected, num_uniform=sampling.num_uniform, num_candidates=sampling.num_candidates
        )

    def _hidden(
        self, query_rows: tf.Tensor, positive_rows: tf.Tensor, columns: tf.Tensor
    ) -> tf.Tensor:
        if self._sampling.known_positives is None:
            return accidental_hits(positive_rows, columns)
        # A positive is one of its query's known positives, so this covers accidental hits.
        return self._sampling.known_positives.hits(query_rows, columns)
