"""The compared systems: what makes one step of each, its input included."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import tensorflow as tf
import tensorflow_recommenders as tfrs

from tests.benchmarks.training_throughput.ml_1m import World
from tfrs_twotower.config import FittingConfig, IntTowerConfig
from tfrs_twotower.keras_api import keras
from tfrs_twotower.losses.negative_columns import KnownPositives
from tfrs_twotower.losses.sampling_probability import CountedFrequency
from tfrs_twotower.tasks.build import build_retrieval_task, build_terms
from tfrs_twotower.training.fitting import Fitting
from tfrs_twotower.training.negatives import NegativeSampling
from tfrs_twotower.training.optimizers import make_optimizer
from tfrs_twotower.training.plan import plan_fit
from tfrs_twotower.training.two_tower_model import TwoTowerModel

Objective = Literal["retrieval", "joint"]
Step = Callable[[], None]

CIR_WEIGHT, CIR_TEMPERATURE = 0.05, 0.1


def fitting_config(batch_size: int) -> FittingConfig:
    """A run's defaults, without warm-up and early stopping; all systems read their numbers here."""
    return FittingConfig.model_validate(
        {
            "batch_size": batch_size,
            "early_stopping": None,
            "optimizer": {"learning_rate": 0.001, "warmup_steps": 0},
            "terms": {
                "contrastive_interaction": {"weight": CIR_WEIGHT, "temperature": CIR_TEMPERATURE}
            },
        }
    )


def project_model(
    world: World, config: FittingConfig, objective: Objective, *, mask: bool
) -> TwoTowerModel:
    """The project's model, put together as `training/job.py` does.

    Args:
        world: towers and data.
        config: batch size, optimiser, softmax, terms.
        objective: the retrieval softmax alone, or with the two terms of the heads.
        mask: hides all known positives of a query, as is the default; else only accidental hits.
    """
    known = None
    if mask:
        known = KnownPositives(
            world.table.query_rows,
            world.table.candidate_rows,
            num_queries=len(world.table.query_ids),
            num_candidates=len(world.counts),
        )
    model_config = IntTowerConfig(kind="inttower")
    task = build_retrieval_task(config, model_config)
    terms = []
    if objective == "joint":
        terms = build_terms(config, model_config, world.towers, task)
    model = TwoTowerModel(
        world.towers,
        task=task,
        terms=terms,
        sampling=NegativeSampling(
            world.corpus_tokens,
            len(world.counts),
            frequency=CountedFrequency(world.counts, batch_size=config.batch_size),
            known_positives=known,
        ),
        clip_norm=config.optimizer.clip_norm,
    )
    model.compile(optimizer=make_optimizer(config.optimizer))
    model.optimizer.build(model.trainable_variables)
    return model


def project(
    world: World, config: FittingConfig, objective: Objective, directory: Path, *, mask: bool
) -> Step:
    """The project's own step: what `Fitting` does between two reports."""
    model = project_model(world, config, objective, mask=mask)
    plan = plan_fit(len(world.table), config.batch_size, config)
    fitting = Fitting(
        model,
        world.table,
        plan,
        config,
        seed=1,
        validator=None,
        directory=directory,
        log_path=directory / "log.jsonl",
        log_position=0,
        strategy=None,
        report=lambda _: None,
    )
    steps = iter(range(1, plan.last_step + 1))
    return lambda: fitting._losses(next(steps), config.optimizer.learning_rate) and None


def keras_loop(
    world: World, config: FittingConfig, objective: Objective, *, plain_pairs: bool = False
) -> Step:
    """A loop as a Keras guide writes it: a tape in a `tf.function`, and Keras's AdamW.

    Args:
        world: towers and data.
        config: batch size, optimiser, softmax, terms.
        objective: the retrieval softmax alone, or with the two terms of the heads.
        plain_pairs: scores all pairs of heads in one piece, as one writes it down first.
    """
    optimizer, towers = _keras_optimizer(config), world.towers
    variables = towers.trainable_variables
    if objective == "retrieval":
        variables = [v for v in variables if ".heads." not in v.name and "scorer" not in v.name]

    @tf.function
    def step(batch: dict[str, Any]) -> tf.Tensor:
        with tf.GradientTape() as tape:
            query = towers.query.encode(batch["tokens"], training=True)
            candidate = towers.candidate.encode(batch["candidate"], training=True)
            scores = tf.matmul(query.embedding, candidate.embedding, transpose_b=True)
            scores /= config.softmax.temperature
            loss = _softmax(scores, batch["rows"], batch["expected"])
            if objective == "joint":
                if plain_pairs:
                    pairs = _plain_pairs(query.heads, candidate.heads)
                    pairs = towers.scorer._calibrate(pairs)
                else:
                    pairs = towers.scorer.all_pairs(query.heads, candidate.heads)
                loss += _softmax(pairs, batch["rows"], batch["expected"])
                last = _flat(query.heads[:, -candidate.heads.shape[1] :])
                cosines = tf.matmul(last, _flat(candidate.heads), transpose_b=True)
                loss += CIR_WEIGHT * _softmax(cosines / CIR_TEMPERATURE, batch["rows"], None)
        gradients = tape.gradient(loss, variables)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    batches = _batches(world, config.batch_size)
    return lambda: step(next(batches)).numpy() and None


def tfrs_model(world: World, config: FittingConfig) -> Step:
    """A `tfrs.Model` around `tfrs.tasks.Retrieval`, by the function that `Model.fit` calls.

    Callbacks and the progress bar of `fit` are left out, in its favour.
    """

    class Model(tfrs.Model):
        def __init__(self) -> None:
            super().__init__()
            self.query_tower, self.candidate_tower = world.towers.query, world.towers.candidate
            self.task = tfrs.tasks.Retrieval(
                temperature=config.softmax.temperature, remove_accidental_hits=True
            )

        def compute_loss(self, batch: dict[str, Any], training: bool = False) -> tf.Tensor:
            return self.task(
                self.query_tower.embed_tokens(batch["tokens"], training),
                self.candidate_tower.embed_tokens(batch["candidate"], training),
                # Its probabilities are clipped at 1; a common factor changes nothing.
                candidate_sampling_probability=batch["expected"] / config.batch_size,
                candidate_ids=batch["rows"],
                compute_metrics=False,
            )

    model = Model()
    # Its loss is a sum over the batch; clipping by norm makes that harmless here.
    model.compile(optimizer=_keras_optimizer(config))
    train = model.make_train_function()
    batches = _batches(world, config.batch_size)
    return lambda: train(batches)["loss"].numpy() and None


def _keras_optimizer(config: FittingConfig) -> keras.optimizers.Optimizer:
    return keras.optimizers.AdamW(
        config.optimizer.learning_rate,
        weight_decay=config.optimizer.weight_decay,
        global_clipnorm=config.optimizer.clip_norm,
    )


def _batches(world: World, batch_size: int) -> Iterator[dict[str, Any]]:
    """The same examples from `tf.data`: whole batches are gathered, two ahead of the step."""
    table = world.table
    tokens = {name: tf.constant(values) for name, values in table.tokens.items()}
    rows = tf.constant(table.candidate_rows)
    expected = CountedFrequency(world.counts, batch_size=batch_size)

    def gather(places: tf.Tensor) -> dict[str, Any]:
        of_batch = tf.gather(rows, places)
        return {
            "tokens": {name: tf.gather(values, places) for name, values in tokens.items()},
            "candidate": {
                name: tf.gather(values, of_batch) for name, values in world.corpus_tokens.items()
            },
            "rows": of_batch,
            "expected": expected.expected(of_batch),
        }

    num = len(table)
    places = tf.data.Dataset.range(num).shuffle(num).repeat().batch(batch_size)
    return iter(places.map(gather).prefetch(2))


def _softmax(logits: tf.Tensor, rows: tf.Tensor, expected: tf.Tensor | None) -> tf.Tensor:
    """Mean cross entropy of the diagonal; other columns of the same candidate are left out."""
    if expected is not None:
        logits -= tf.math.log(expected)[tf.newaxis, :]
    labels = tf.range(tf.shape(rows)[0])
    same = tf.logical_and(
        rows[:, tf.newaxis] == rows[tf.newaxis, :],
        labels[:, tf.newaxis] != labels[tf.newaxis, :],
    )
    logits = tf.where(same, -1e9, logits)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tf.reduce_mean(losses)


def _plain_pairs(query_heads: tf.Tensor, candidate_heads: tf.Tensor) -> tf.Tensor:
    products = tf.einsum("brd,chd->bhrc", query_heads, candidate_heads)
    return tf.reduce_sum(tf.reduce_max(products, axis=1), axis=1)


def _flat(heads: tf.Tensor) -> tf.Tensor:
    return tf.math.l2_normalize(tf.reshape(heads, [-1, heads.shape[1] * heads.shape[2]]), axis=1)
