"""Trains towers in place on a `tf.data.Dataset`: one pass after another over batches of pairs.

Only one batch is in memory. Training on an artifact knows the whole corpus and can do more:
early stopping on validation queries, negatives beyond the batch, continuing a killed run.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfrs_twotower.config import OptimizerConfig
from tfrs_twotower.errors import ConfigError, TrainingError
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers import inttower, protocol
from tfrs_twotower.training import in_batch_negatives, optimizers, plan, reports, two_tower_model

_TEMPERATURE = 0.1
_ADAMW = OptimizerConfig()


def train_on_dataset(
    data: tf.data.Dataset,
    *,
    towers: protocol.TwoTowers,
    task: RetrievalTask | None = None,
    optimizer: OptimizerConfig = _ADAMW,
    epochs: int = 1,
    candidate_id: str | None = None,
    query_id: str | None = None,
    candidate_counts: Mapping[str, int] | Mapping[int, int] | None = None,
    logq: bool = True,
    report: reports.Report = reports.ignore_report,
) -> reports.TrainingResult:
    """Trains two towers in place with in-batch softmax.

    A batch is `{"query": {...}, "candidate": {...}}`, raw features `[batch, ...]` by name; or one
    flat dict in which both towers find their inputs. Example i is a positive pair; the other
    candidates of its batch are its negatives. Shuffle the dataset, because the batches are used in
    its order.

    Args:
        data: a finite dataset, which is read once per epoch.
        towers: any two towers; those of `build_towers` if they are plain. Token weights of `bag`
            texts keep their initial values: there is no corpus to count documents in.
        task: by default the softmax at temperature 0.1, which suits unit vectors. Towers without
            normalised vectors need a higher temperature.
        optimizer: settings of the optimizer; by default AdamW at a rate of 0.003, after a warm-up
            of 100 steps.
        epochs: passes over the data.
        candidate_id: feature that identifies a candidate. It hides accidental hits and corrects
            for popular candidates; without it, training does neither.
        query_id: feature that identifies a query. It hides the query's other candidates.
        candidate_counts: training examples of each candidate, by id; None estimates the
            frequencies during training.
        logq: whether to correct for popular candidates.
        report: receives the report of every step.

    Returns:
        The result of the training, without validation. `evaluate` measures the towers afterwards.

    Raises:
        TrainingError: training diverged, or the towers cannot be trained this way.
        ConfigError: a decay needs the number of batches, and the dataset has no known cardinality.
        ValueError: the batches do not have the form above, or the dataset is empty or infinite.
    """
    total_steps = _total_steps(data, epochs, optimizer)
    _refuse_towers_of_a_corpus(towers)
    negatives = in_batch_negatives.InBatchNegatives(
        candidate_id=candidate_id,
        query_id=query_id,
        candidate_counts=candidate_counts,
        logq=logq,
    )
    task = task or RetrievalTask(temperature=_TEMPERATURE)
    model = two_tower_model.TwoTowerModel(
        towers, task=task, sampling=negatives, clip_norm=optimizer.clip_norm
    )
    if not model.towers.trainable_variables:
        raise TrainingError(
            "training: found no weights in the towers. Give Keras models or tf.Modules: the "
            "variables that a plain function uses cannot be seen from outside."
        )
    model.compile(optimizer=optimizers.make_optimizer(optimizer))
    model.optimizer.build(model.trainable_variables)
    schedule = plan.learning_rate_schedule(optimizer, total_steps)
    run_step = tf.function(model.train_step, input_signature=[data.element_spec], autograph=False)
    step = num_examples = batch_size = 0
    started = time.perf_counter()
    for epoch in range(epochs):
        for batch in data:
            step += 1
            rate = float(schedule(step))
            model.optimizer.learning_rate = rate
            losses = {name: float(value) for name, value in run_step(batch).items()}
            _refuse_divergence(losses, step, rate)
            size = len(tf.nest.flatten(batch)[0])
            batch_size, num_examples = max(batch_size, size), num_examples + size
            elapsed = time.perf_counter() - started
            report(
                reports.StepReport(
                    step=step,
                    total_steps=total_steps,
                    epoch=step / total_steps * epochs if total_steps else float(epoch),
                    losses=losses,
                    examples_per_s=num_examples / elapsed,
                    eta_s=max(total_steps - step, 0) * elapsed / step,
                    learning_rate=rate,
                )
            )
    if not step:
        raise ValueError("the dataset is empty; give batches of positive pairs")
    seconds = time.perf_counter() - started
    return reports.TrainingResult(
        best_step=step,
        best_epoch=float(epochs),
        steps=step,
        refitted=False,
        validation={},
        num_examples=num_examples // epochs,
        batch_size=batch_size,
        temperature=float(task.temperature),
        seconds=seconds,
        examples_per_s=num_examples / seconds,
    )


def _total_steps(data: tf.data.Dataset, epochs: int, optimizer: OptimizerConfig) -> int:
    """Steps of all epochs; 0 if the cardinality is unknown."""
    if epochs < 1 or not isinstance(data.element_spec, Mapping):
        raise ValueError(
            f"epochs is {epochs} and an element of the dataset {type(data.element_spec).__name__}; "
            'expected at least 1, and a dict: {"query": {...}, "candidate": {...}} or a flat one'
        )
    batches = int(data.cardinality())
    if batches == tf.data.INFINITE_CARDINALITY:
        raise ValueError("the dataset never ends; say how many batches it has with .take(n)")
    if batches == tf.data.UNKNOWN_CARDINALITY:
        if optimizer.decay != "none":
            raise ConfigError(
                f"optimizer.decay is {optimizer.decay}, which ends at the last step, but the "
                "dataset does not say how many batches it has. Add "
                ".apply(tf.data.experimental.assert_cardinality(n)), or set decay: none."
            )
        return 0
    return batches * epochs


def _refuse_towers_of_a_corpus(towers: protocol.TwoTowers) -> None:
    content = getattr(towers, "history_content", None)
    sides = [getattr(towers, f"{name}_tower", None) for name in ("query", "candidate")]
    augmented = any(getattr(side, "augmentation", None) is not None for side in sides)
    if isinstance(towers, inttower.IntTowers) or augmented or content is not None:
        raise TrainingError(
            f"training: found {type(towers).__name__}, which learn from the whole corpus "
            "(history_content) or from terms of their own (dat, inttower); a dataset trains plain "
            "towers or your own models. Train these from a preprocessed artifact."
        )


def _refuse_divergence(losses: dict[str, Any], step: int, rate: float) -> None:
    if not (math.isfinite(losses["loss"]) and math.isfinite(losses["gradient_norm"])):
        raise TrainingError(
            f"training diverged at step {step}: the loss is {losses['loss']} and the gradient's "
            f"norm {losses['gradient_norm']} at learning rate {rate:.3g}. Lower "
            "optimizer.learning_rate, set optimizer.clip_norm, or raise the task's temperature."
        )
