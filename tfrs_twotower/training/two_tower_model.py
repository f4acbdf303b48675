"""The trained model: two towers, the terms of the objective, and the negatives."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tfrs_twotower.config import FittingConfig
from tfrs_twotower.tasks import multi_view, objective, retrieval
from tfrs_twotower.towers import protocol, tower
from tfrs_twotower.training import (
    gradient_caching,
    in_batch_negatives,
    mined_negatives,
    negatives,
    optimizers,
    replicas,
)


def compiled_model(
    towers: protocol.TwoTowers,
    task: retrieval.RetrievalTask,
    terms: Sequence[objective.Term],
    sampling: negatives.NegativeSampling,
    config: FittingConfig,
    frozen: Sequence[tf.Variable] = (),
) -> "TwoTowerModel":
    """Builds a model with its optimiser, whose state exists before the first step."""
    model = TwoTowerModel(
        towers,
        task=task,
        terms=terms,
        sampling=sampling,
        clip_norm=config.optimizer.clip_norm,
        frozen=frozen,
        cached_chunks=config.cached_chunks,
    )
    model.compile(optimizer=optimizers.make_optimizer(config.optimizer))
    model.optimizer.build(model.learning_variables)
    return model


class TwoTowerModel(tfrs.Model):
    """Two towers that are trained with a weighted sum of terms, the retrieval softmax first.

    Any two towers will do, Keras models and `tf.Module`s among them: see `TowerPair`. As every
    `tfrs.Model` it is compiled and fitted by Keras; `train` does both with this project's
    optimisers.

    With `InBatchNegatives` a batch is a dict of raw features of positive pairs:

        query            `[batch, ...]` by name
        candidate        `[batch, ...]` by name

    or one flat dict that both towers find their inputs in. With `NegativeSampling`, whose corpus
    is in memory as tokens, a batch is a dict of

        tokens           tokens of the query tower, `[batch, ...]` by name
        query_rows       `[batch]` int32
        candidate_rows   `[batch]` int32, rows of the positives
        weights          `[batch]` float32
        step             `[batch]` int64, all equal, counted from 1
        listed_rows      `[batch, n]` int32, mined candidates, -1 for padding (pre-ranking only)
        teacher          `[batch, 1 + n]` float32, teacher scores of the positive and of
                         `listed_rows` (with a teacher only)
        mined_rows       `[batch, n]` int32, mined negatives, -1 for padding (`training.ance` only)
        mined_queries_present  `[batch, n]` bool, false for padding (with the dual term only)
        mined_query_tokens     tokens of mined queries, `[batch * n, ...]` by name (the same)

    With several replicas `batch` is this replica's share; candidates are gathered from all
    replicas.
    """

    def __init__(
        self,
        towers: protocol.TwoTowers,
        *,
        task: retrieval.RetrievalTask,
        sampling: negatives.NegativeSampling | in_batch_negatives.InBatchNegatives,
        terms: Sequence[objective.Term] = (),
        clip_norm: float | None = None,
        frozen: Sequence[tf.Variable] = (),
        cached_chunks: int = 1,
    ) -> None:
        """Puts the parts together.

        Args:
            towers: the towers to train.
            task: the retrieval task.
            sampling: the negatives, and with them the form of a batch.
            terms: the terms beside the retrieval task.
            clip_norm: largest global norm of the gradient; None does not clip.
            frozen: variables that training leaves as they are.
            cached_chunks: chunks in which a step embeds its batch (`CachedEncodings`); with
                `NegativeSampling` only.

        Raises:
            ValueError: the towers do not embed into one space.
        """
        super().__init__(name="two_tower")
        self.towers = protocol.as_towers(towers)
        self.task = task
        all_terms: tuple[objective.Term, ...] = (task, *terms)
        self._terms = tuple(term for term in all_terms if term.weight > 0.0)
        self._objective = objective.Objective({term.name: term.weight for term in self._terms})
        views = [term.views for term in self._terms if isinstance(term, multi_view.MultiViewTerm)]
        self._views = views[0] if views else None
        self._sampling = sampling
        self._state = sampling.state
        self._clip_norm = clip_norm
        self._frozen = frozenset(variable.ref() for variable in frozen)
        self._cached_chunks = cached_chunks

    @property
    def learning_variables(self) -> list[tf.Variable]:
        """The variables that training changes."""
        return [v for v in self.trainable_variables if v.ref() not in self._frozen]

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> tf.Tensor:
        """Returns the objective of a batch, a scalar; of several replicas, this one's share."""
        return self.terms(inputs, training=training)[0]

    def terms(
        self,
        inputs: dict[str, Any],
        training: bool = False,
        encode: gradient_caching.Encode | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Returns the objective and the mean of each of its terms.

        Args:
            inputs: a batch.
            training: whether dropout acts and the memories are updated.
            encode: embeds tokens with a tower; by default the tower does.

        Returns:
            A scalar, and scalars by name.
        """
        batch = self._embed(inputs, training, encode)
        weights = (
            tf.ones(tf.shape(batch.query_rows), tf.float32)
            if isinstance(self._sampling, in_batch_negatives.InBatchNegatives)
            else inputs["weights"]
        )
        total_weight = replicas.sum_over_replicas(tf.reduce_sum(weights))
        losses = {term.name: term.losses_of(batch) for term in self._terms}
        total, means = self._objective(losses, weights, total_weight=total_weight)
        if self.losses:
            total += (
                tf.add_n([tf.reduce_sum(loss) for loss in self.losses]) / replicas.num_replicas()
            )
        if training:
            if isinstance(self._sampling, negatives.NegativeSampling):
                self._sampling.store(batch.all_candidate.embedding, batch.all_candidate_rows)
            self.towers.update_memory(batch.all_candidate_tokens, batch.all_candidate.embedding)
        return total, means

    def train_step(self, inputs: dict[str, Any]) -> dict[str, tf.Tensor]:
        """Makes one update.

        Returns:
            `loss`, each term by name, and `gradient_norm` before clipping; all of them are this
            replica's shares.
        """
        total, means, gradients = self.gradients(inputs)
        norm = optimizers.apply_gradients(
            gradients, self.learning_variables, self.optimizer, self._clip_norm
        )
        return {"loss": total, **means, "gradient_norm": norm}

    def gradients(
        self, inputs: dict[str, Any]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], list[optimizers.Gradient | None]]:
        """Returns the objective, its terms, and its gradient by each of `learning_variables`."""
        chunks = self._cached_chunks
        with tf.GradientTape() as tape:
            cached = gradient_caching.CachedEncodings(tape, chunks) if chunks > 1 else None
            encode = cached.encode if cached else None
            total, means = self.terms(inputs, training=True, encode=encode)
        gradients_of = tape.gradient if cached is None else cached.gradients
        return total, means, gradients_of(total, self.learning_variables)

    def _embed(
        self, inputs: dict[str, Any], training: bool, encode: gradient_caching.Encode | None
    ) -> objective.EmbeddedBatch:
        if isinstance(self._sampling, in_batch_negatives.InBatchNegatives):
            return self._sampling.embed(self.towers, inputs, training)
        if encode is None:
            return self._embed_rows(
                self._sampling, inputs, training, lambda side, x: side.encode(x, training=training)
            )
        return self._embed_rows(self._sampling, inputs, training, encode)

    def _embed_rows(
        self,
        sampling: negatives.NegativeSampling,
        inputs: dict[str, Any],
        training: bool,
        encode: gradient_caching.Encode,
    ) -> objective.EmbeddedBatch:
        step = inputs["step"][0]
        query_rows, rows = inputs["query_rows"], inputs["candidate_rows"]
        local = tf.shape(rows)[0]
        drawn = sampling.draw(step)
        own_drawn = replicas.own_share(drawn)
        tokens = sampling.tokens_of(tf.concat([rows, own_drawn], axis=0))
        query = encode(self.towers.query, inputs["tokens"])
        embedded = encode(self.towers.candidate, tokens)
        candidate = _first(embedded, local)
        positives = {name: values[:local] for name, values in tokens.items()}
        views = None
        if self._views is not None:
            given = (self.towers, inputs["tokens"], positives, encode, replicas.all_gather)
            views = self._views.embed(*given)
        all_query, all_candidate = (
            in_batch_negatives.gather_output(query),
            in_batch_negatives.gather_output(candidate),
        )
        all_query_rows, all_rows = replicas.all_gather(query_rows), replicas.all_gather(rows)
        columns = [all_candidate.embedding]
        all_drawn = None
        if sampling.num_uniform:
            all_drawn = in_batch_negatives.gather_output(_rest(embedded, local))
            columns.append(all_drawn.embedding)
        sampled_rows = column_rows = tf.concat([all_rows, drawn], axis=0)
        if sampling.memory is not None:
            stored, stored_rows = sampling.memory.read()
            columns.append(stored)
            column_rows = tf.concat([sampled_rows, stored_rows], axis=0)
        if training:
            sampling.count(all_rows, step)
        return objective.EmbeddedBatch(
            query=query,
            candidate=candidate,
            query_tokens=inputs["tokens"],
            query_rows=query_rows,
            candidate_rows=rows,
            all_query=all_query,
            all_candidate=all_candidate,
            all_candidate_tokens={
                name: replicas.all_gather(values) for name, values in positives.items()
            },
            all_query_rows=all_query_rows,
            all_candidate_rows=all_rows,
            positive_columns=replicas.replica_id() * local + tf.range(local),
            drawn=all_drawn,
            columns=tf.concat(columns, axis=0),
            expected=sampling.expected(column_rows, tf.shape(all_rows)[0]),
            sampled_expected=sampling.expected(sampled_rows, tf.shape(all_rows)[0]),
            hidden=sampling.hidden(query_rows, rows, column_rows),
            reverse_hidden=tf.transpose(sampling.hidden(all_query_rows, all_rows, rows)),
            mined=self._embed_lists(sampling, inputs, query, candidate, encode),
            views=views,
            negatives=mined_negatives.embed_negatives(self.towers, sampling, inputs, encode),
        )

    def _embed_lists(
        self,
        sampling: negatives.NegativeSampling,
        inputs: dict[str, Any],
        query: tower.TowerOutput,
        positive: tower.TowerOutput,
        encode: gradient_caching.Encode,
    ) -> objective.MinedLists | None:
        if "listed_rows" not in inputs:
            return None
        rows = inputs["listed_rows"]
        # Padding is one of the distinct rows; it is hidden from all, so its tokens do not matter.
        distinct, positions = tf.unique(tf.reshape(rows, [-1]))
        positions = tf.reshape(positions, tf.shape(rows))
        tokens = sampling.tokens_of(tf.maximum(distinct, 0))
        candidates = encode(self.towers.candidate, tokens)
        heads = tf.concat(
            [positive.heads[:, tf.newaxis], tf.gather(candidates.heads, positions)], axis=1
        )
        present = rows >= 0
        return objective.MinedLists(
            candidates=candidates,
            hidden=sampling.hidden(inputs["query_rows"], inputs["candidate_rows"], distinct),
            present=tf.concat([tf.ones_like(present[:, :1]), present], axis=1),
            logits=self.towers.scorer(query.heads, heads),
            teacher=inputs.get("teacher"),
        )


def _first(output: tower.TowerOutput, count: tf.Tensor) -> tower.TowerOutput:
    return tower.TowerOutput(*(None if part is None else part[:count] for part in output))


def _rest(output: tower.TowerOutput, start: tf.Tensor) -> tower.TowerOutput:
    return tower.TowerOutput(*(None if part is None else part[start:] for part in output))
