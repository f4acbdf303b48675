"""The training loop: batches, steps, evaluations, checkpoints."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfrs_twotower.config import FittingConfig
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.keras_api import keras
from tfrs_twotower.training import averaging, checkpoints, replicas, reports, workers
from tfrs_twotower.training.plan import BatchOrder, Plan, learning_rate_schedule

_MOST_LOGGED_STEPS = 2000


class Examples(Protocol):
    """Training examples that give batches."""

    def __len__(self) -> int:
        """Returns the number of examples."""

    @property
    def groups(self) -> NDArray[np.integer] | None:
        """Groups `[num_examples]` whose examples share work and follow each other; None without."""

    def batch(self, positions: NDArray[np.integer], step: int) -> dict[str, Any]:
        """Returns the examples at some positions as the model's `train_step` takes them.

        Args:
            positions: of the examples.
            step: number of the step; random draws depend on it.
        """


class Measure(Protocol):
    """Measures how good the current weights are."""

    def measure(self) -> dict[str, float]:
        """Returns validation metrics of the current weights, by name."""


@dataclass
class Progress:
    """The state of a training that is saved beside its variables.

    Attributes:
        step: number of updates so far.
        best_step: step whose weights are kept.
        validation: validation metrics at that step.
        seconds: time spent so far, by all processes.
        log_position: size of the log in bytes.
        finished: whether the training has ended.
        best: state of early stopping.
    """

    step: int = 0
    best_step: int = 0
    validation: dict[str, float] | None = None
    seconds: float = 0.0
    log_position: int = 0
    finished: bool = False
    best: dict[str, Any] | None = None


class Fitting:
    """Runs one training from its last checkpoint, or from the start, to its end."""

    mined_at: int | None = None
    """Step whose weights the mined negatives come from; the log has their age as `staleness`."""

    def __init__(
        self,
        model: keras.Model,
        examples: Examples,
        plan: Plan,
        config: FittingConfig,
        *,
        seed: int,
        validator: Measure | None,
        directory: Path,
        log_path: Path,
        log_position: int,
        strategy: tf.distribute.Strategy | None,
        report: reports.Report,
    ) -> None:
        """Puts the parts together.

        Args:
            model: compiled; its `train_step(batch)` returns `loss`, `gradient_norm` and each term
                by name.
            examples: the training examples.
            plan: number of steps, and steps between evaluations.
            config: learning rates, early stopping, checkpoints.
            seed: seed of the order of the examples.
            validator: measures the weights during training; None measures nothing.
            directory: directory of this training's checkpoints.
            log_path: the training log.
            log_position: number of bytes that an earlier phase wrote to the log.
            strategy: None for one replica.
            report: receives a report of every step.
        """
        self._model = model
        self._examples = examples
        self._plan = plan
        self._config = config
        self._validator = validator
        self._log_path = log_path
        self._strategy = strategy
        self._team = workers.Team(strategy)
        self._report = report
        self._learning_rate = learning_rate_schedule(config.optimizer, plan.horizon)
        self._order = BatchOrder(
            len(examples),
            plan.batch_size,
            seed=seed,
            buffer=config.shuffle_buffer,
            groups=examples.groups,
        )
        self._average = self._build_average()
        kept = {"model": model, "optimizer": model.optimizer}
        kept |= {} if self._average is None else {"average": self._average}
        self._checkpoints = checkpoints.Checkpoints(directory, **kept)
        stopping = config.early_stopping if plan.phase == "fit" and validator else None
        self._metric = stopping.metric if stopping else None
        self._best = reports.BestSoFar(stopping.patience if stopping else None)
        self._progress = Progress(log_position=log_position)
        self._run_step = self._compile()
        self._own_steps, self._own_seconds = 0, 0.0

    @property
    def examples_per_s(self) -> float:
        """Examples per second of this process, without its first step (tracing) and validation."""
        if self._own_steps < 1 or not self._own_seconds:
            return 0.0
        return self._own_steps * self._plan.batch_size / self._own_seconds

    def run(self) -> Progress:
        """Trains to the end; the model then has the kept weights.

        Raises:
            TrainingError: the loss or the gradient is not finite.
        """
        facts = self._checkpoints.restore() if self._team.keeps else None
        facts = self._team.facts_of_chief(facts)
        averaged = () if self._average is None else self._average.variables
        weights, slots = self._model.variables, self._model.optimizer.variables
        self._team.take_from_chief([*weights, *slots, *averaged])
        if facts is not None:
            self._progress = Progress(**facts)
            self._best = (
                reports.BestSoFar(**self._progress.best) if self._progress.best else self._best
            )
        progress = self._progress
        if not progress.finished:
            log = reports.TrainingLog(
                self._log_path, progress.log_position if self._team.keeps else 0
            )
            try:
                while progress.step < self._plan.last_step and not self._best.exhausted:
                    self._advance(log)
                if self._metric is None:
                    progress.best_step = progress.step
                progress.finished = True
                self._save(log)
            finally:
                log.close()
        if self._metric is not None:
            if self._team.keeps:
                self._checkpoints.load_best(progress.best_step, weights)
            self._team.take_from_chief(weights)
        elif self._average is not None:
            self._average.take_over()
        return progress

    def _advance(self, log: reports.TrainingLog) -> None:
        progress, plan = self._progress, self._plan
        started = time.perf_counter()
        step = progress.step + 1
        rate = float(self._learning_rate(step))
        losses = self._losses(step, rate)
        if self._average is not None:
            self._average.update(step)
        progress.step = step
        elapsed = time.perf_counter() - started
        if self._own_steps or self._own_seconds:
            self._own_seconds += elapsed
            self._own_steps += 1
        else:
            self._own_seconds = 1e-9  # the first step is mostly tracing
        progress.seconds += elapsed
        last = step == plan.last_step
        validation = None
        if self._validator is not None and (last or step % plan.evaluate_every == 0):
            validation = self._evaluate(step)
        entry: dict[str, Any] = {
            "phase": plan.phase,
            "step": step,
            "epoch": plan.epoch(step),
            **losses,
            "learning_rate": rate,
            "examples_per_s": round(self.examples_per_s, 1),
            **({} if self.mined_at is None else {"staleness": step - self.mined_at}),
        }
        if validation is not None:
            entry["validation"] = validation
        if validation is not None or last or step % _log_interval(plan) == 0:
            log.write(entry)
        is_due = validation is not None or step % self._config.checkpoint_every_steps == 0
        if is_due and not (last or self._best.exhausted):  # `run` saves the end
            self._save(log)
        left = (plan.last_step - step) * plan.batch_size
        self._report(
            reports.StepReport(
                step=step,
                total_steps=plan.last_step,
                epoch=plan.epoch(step),
                losses=losses,
                examples_per_s=self.examples_per_s,
                eta_s=left / self.examples_per_s if self.examples_per_s else 0.0,
                learning_rate=rate,
                validation=validation,
                phase=plan.phase,
            )
        )

    def _losses(self, step: int, rate: float) -> dict[str, float]:
        positions = self._team.own_part(self._order.batch(step - 1))
        batch = self._examples.batch(positions, step)
        self._model.optimizer.learning_rate = rate
        values = {name: float(value) for name, value in self._run_step(batch).items()}
        norm = values["gradient_norm"]
        if not (math.isfinite(values["loss"]) and math.isfinite(norm)):
            raise TrainingError(
                f"training diverged at step {step}: the loss is {values['loss']} and the "
                f"gradient's norm {norm} at learning rate {rate:.3g}. Lower "
                "training.optimizer.learning_rate, set training.optimizer.clip_norm, or raise "
                "training.softmax.temperature. The last good checkpoint is kept."
            )
        return values

    def _evaluate(self, step: int) -> dict[str, float]:
        assert self._validator is not None
        started = time.perf_counter()
        progress = self._progress
        with self._average.in_place() if self._average else contextlib.nullcontext():
            # All processes decide alike, even if their machines round differently.
            values = self._team.facts_of_chief(self._validator.measure())
            if self._metric is None:
                progress.validation = values
            elif self._best.record(step, values[self._metric]):
                if self._team.keeps:
                    self._checkpoints.save_best(step, self._model.variables)
                progress.best_step, progress.validation = step, values
        progress.seconds += time.perf_counter() - started
        return values

    def _save(self, log: reports.TrainingLog) -> None:
        progress = self._progress
        progress.log_position = log.position()
        progress.best = asdict(self._best)
        if self._team.keeps:
            self._checkpoints.save(progress.step, asdict(progress), progress.best_step)

    def _build_average(self) -> averaging.WeightAverage | None:
        if not self._config.average_weights:
            return None
        with self._strategy.scope() if self._strategy else contextlib.nullcontext():
            return averaging.WeightAverage(
                self._model.trainable_variables,
                steps_per_epoch=self._plan.num_examples / self._plan.batch_size,
            )

    def _compile(self) -> Callable[[dict[str, Any]], dict[str, tf.Tensor]]:
        model, strategy = self._model, self._strategy
        if strategy is None:
            # Packed histories have another number of rows in each batch.
            one = tf.function(model.train_step, autograph=False, reduce_retracing=True)
            return lambda batch: one(tf.nest.map_structure(tf.convert_to_tensor, batch))

        @tf.function(autograph=False)
        def every_replica(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
            shares = strategy.run(model.train_step, args=(batch,))
            return {
                name: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
                for name, value in shares.items()
            }

        return lambda batch: every_replica(replicas.spread(strategy, batch))


def _log_interval(plan: Plan) -> int:
    return max(1, math.ceil(plan.last_step / _MOST_LOGGED_STEPS))
