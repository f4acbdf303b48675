"""Trains cross-encoders on mined lists, each on one half of the queries.

A model that scores the lists it was trained on says how well it remembers: its scores tell a
student no more than the labels do. So the queries are cut into halves at random, and every list is
scored by the model that has not learned its query (cross-fitting).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.config import CrossEncoderConfig
from tfrs_twotower.data import negative_lists, training_examples
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.keras_api import keras
from tfrs_twotower.layers import seeded, text_pairs
from tfrs_twotower.losses.in_batch_softmax import in_batch_softmax
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.tasks.objective import weighted_mean
from tfrs_twotower.towers import cross_encoder

_HALVES = 2
_DROPOUT = 0.1
_SEED_STEP = 1_000_033
_HALF_STREAM, _ORDER_STREAM, _LIST_STREAM = 0, 1, 2
_CLIP_NORM = 1.0
_WARM_UP = 0.1
Progress = Callable[[str, int, int], None]
"""Receives what is being done, the amount done, and the total amount."""


@dataclass(frozen=True)
class PairExamples:
    """Training examples as pieces of both sides, with their mined lists."""

    texts: cross_encoder.PairTexts
    table: training_examples.ExampleTable
    lists: negative_lists.NegativeLists
    candidates: cross_encoder.PieceArray
    """`[num_candidates, width]`, in row order."""

    def queries(self, positions: NDArray[np.integer] | slice) -> cross_encoder.PieceArray:
        """Pieces `[n, width]` of the queries of some examples."""
        tokens = {name: values[positions] for name, values in self.table.tokens.items()}
        return self.texts.joined("query", tokens)

    def drawn(
        self, positions: NDArray[np.integer], size: int, random: np.random.Generator
    ) -> NDArray[np.int32]:
        """Rows `[n, 1 + size]`: each example's positive, and candidates drawn from its list."""
        rows = self.lists.rows[positions]
        chosen = negative_lists.draw_places(rows, size, random)
        positives = self.table.candidate_rows[positions][:, np.newaxis]
        return np.concatenate([positives, np.take_along_axis(rows, chosen, axis=1)], axis=1)


class FittedHalves:
    """Scores the lists of training examples, as a `Teacher`."""

    def __init__(
        self,
        models: Sequence[text_pairs.CrossEncoder],
        examples: PairExamples,
        half_of_query: NDArray[np.int64],
    ) -> None:
        """Takes the models.

        Args:
            models: one for each half.
            examples: the training examples.
            half_of_query: `[num_queries]`, the model that has learned the query's examples.
        """
        self._models = [cross_encoder.PairScores(model) for model in models]
        self._examples = examples
        self._half_of_query = half_of_query

    def __call__(self, examples: slice, rows: NDArray[np.int32]) -> NDArray[np.float32]:
        """Scores candidates by the model that has not learned the query; see `Teacher`."""
        queries = self._examples.queries(examples)
        half = self._half_of_query[self._examples.table.query_rows[examples]]
        scores = np.zeros(rows.shape, np.float32)
        for learned, model in enumerate(self._models):
            own = half != learned
            scores[own] = model.lists(queries[own], rows[own], self._examples.candidates)
        return scores


def fit_halves(
    spec: FeatureSpec,
    config: CrossEncoderConfig,
    examples: PairExamples,
    *,
    seed: int,
    directory: Path,
    checkpoint_root: Path,
    progress: Progress,
) -> FittedHalves:
    """Trains the models and writes them.

    Args:
        spec: the feature spec.
        config: sizes and training.
        examples: what is learned.
        seed: seed of the halves, the weights, the order and the draws.
        directory: where the models are written.
        checkpoint_root: where relative `checkpoint` directories start.
        progress: receives the number of steps.

    Raises:
        TrainingError: training diverged, or there is only one query.
        FeatureSpecError, ConfigError: see `cross_encoder.pretrained_of`.
    """
    num_queries = len(examples.table.query_ids)
    if num_queries < _HALVES:
        raise TrainingError(
            "pre_ranking.mining.teacher is cross_encoder, which is trained on two halves of the "
            f"queries, and the training examples have {num_queries} query. Choose another teacher."
        )
    half_of_query = _random(seed, _HALF_STREAM).permutation(num_queries) % _HALVES
    pretrained = cross_encoder.pretrained_of(spec, config, checkpoint_root)
    shape = None if pretrained is None else pretrained[0]
    models = []
    for half in range(_HALVES):
        weights = seeded.WeightMaker(seed + _SEED_STEP * (1 + half))
        model = cross_encoder.build_cross_encoder(
            examples.texts, config, weights, examples.candidates, shape
        )
        if pretrained is not None and isinstance(model.encoder, text_pairs.PretrainedPairs):
            model.encoder.encoder.assign(pretrained[1])
        own = np.flatnonzero(half_of_query[examples.table.query_rows] == half)
        _fit(model, examples, own, config, weights.seed, progress, f"{half + 1} of {_HALVES}")
        models.append(model)
    cross_encoder.save_cross_encoders(models, examples.texts, config, shape, directory)
    return FittedHalves(models, examples, half_of_query)


def _fit(
    model: text_pairs.CrossEncoder,
    examples: PairExamples,
    own: NDArray[np.int64],
    config: CrossEncoderConfig,
    seed: int,
    progress: Progress,
    name: str,
) -> None:
    """Trains a model by the softmax of the positive over the list, on the examples at `own`."""
    per_epoch = -(-len(own) // config.batch_size)
    total = per_epoch * config.epochs
    optimizer = _optimizer(config, total)
    optimizer.build(model.trainable_variables)
    dropout = seeded.TrainingDropout(seed, "cross_encoder")

    def step(
        queries: tf.Tensor, candidates: tf.Tensor, present: tf.Tensor, weights: tf.Tensor
    ) -> tf.Tensor:
        size = tf.shape(candidates)[1]
        with tf.GradientTape() as tape:
            logits = model(
                tf.repeat(queries, size, axis=0),
                tf.reshape(candidates, [-1, tf.shape(candidates)[2]]),
                lambda vectors: dropout.drop_activations(vectors, _DROPOUT),
            )
            loss = weighted_mean(list_softmax(tf.reshape(logits, [-1, size]), present), weights)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    signature = [
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None, None, None], tf.int32),
        tf.TensorSpec([None, None], tf.bool),
        tf.TensorSpec([None], tf.float32),
    ]
    compiled = tf.function(step, input_signature=signature, autograph=False)
    for number in range(total):
        epoch, place = divmod(number, per_epoch)
        if place == 0:
            order = _random(seed, _ORDER_STREAM, epoch).permutation(own)
        positions = order[place * config.batch_size : (place + 1) * config.batch_size]
        rows = examples.drawn(positions, config.negatives, _random(seed, _LIST_STREAM, number))
        loss = compiled(
            tf.constant(examples.queries(positions)),
            tf.constant(examples.candidates[np.maximum(rows, 0)]),
            tf.constant(rows >= 0),
            tf.constant(examples.table.weights[positions]),
        )
        if not np.isfinite(float(loss)):
            raise TrainingError(
                f"the cross-encoder diverged at step {number + 1}: the loss is {float(loss)}. "
                "Lower pre_ranking.mining.cross_encoder.learning_rate."
            )
        progress(f"train cross-encoder {name}", number + 1, total)


def list_softmax(logits: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Cross entropy of each list's first candidate: `[batch]` of logits `[batch, n]`."""
    first = tf.zeros(tf.shape(logits)[:1], tf.int32)
    return in_batch_softmax(logits, hidden=tf.logical_not(present), positive_columns=first)


def _optimizer(config: CrossEncoderConfig, steps: int) -> keras.optimizers.Optimizer:
    warm_up = max(1, round(_WARM_UP * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        config.learning_rate / (1 + warm_up),
        max(1, steps - warm_up),
        warmup_target=config.learning_rate,
        warmup_steps=warm_up,
    )
    return keras.optimizers.Adam(rate, global_clipnorm=_CLIP_NORM, jit_compile=False)


def _random(seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, *stream])
