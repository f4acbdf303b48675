"""The training of a pair of towers: a fit and, with `refit`, a second fit on more examples."""

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from typing_extensions import TypedDict

from tfrs_twotower.artifacts.layout import TRAINING_LOG
from tfrs_twotower.config import FittingConfig, ModelConfig
from tfrs_twotower.data import negative_lists, query_set, training_examples
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.keras_api import keras
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.tasks import build, objective
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers import first_weights, tower
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.training import (
    negatives,
    replicas,
    reports,
    training_data,
    two_tower_model,
    validation,
)
from tfrs_twotower.training.fitting import Examples, Fitting, Measure, Progress
from tfrs_twotower.training.packed_examples import PackedExamples
from tfrs_twotower.training.plan import Plan, fit_batch_size, plan_fit, plan_refit

CHECKPOINTS = "checkpoints"
_DEFAULT_METRIC = "recall@100"
_DEFAULT_QUERIES = 10_000


def validation_metric(config: FittingConfig) -> str:
    """Returns the name of the validation metric."""
    return config.early_stopping.metric if config.early_stopping else _DEFAULT_METRIC


def most_validation_queries(config: FittingConfig) -> int:
    """Returns the largest number of validation queries that are evaluated."""
    return config.early_stopping.max_queries if config.early_stopping else _DEFAULT_QUERIES


class JobOptions(TypedDict):
    """The options that every kind of job passes on to `Job`, where they are documented."""

    seed: int
    refit: bool
    output_dir: Path
    report: reports.Report
    checkpoint_root: Path


class Job:
    """Trains a retrieval model; the job of a pre-ranker member overrides data, terms and measure.

    Attributes:
        assets: what the towers of the current phase know; a first fit knows no id that only the
            validation window has.
        towers: the towers of the current phase; at the end, the trained towers.
        corpus_tokens: `[num_candidates, ...]` by name, for these towers.
        table: the examples of the current phase.
        num_learned: number of those that an epoch passes over.
        frozen: weights of the towers that the training leaves as they are.
        messages: messages for the user so far.
    """

    assets: Assets
    towers: tower.Towers
    corpus_tokens: dict[str, tf.Tensor]
    table: training_examples.ExampleTable
    num_learned: int
    frozen: Sequence[tf.Variable] = ()
    _task: RetrievalTask

    def __init__(
        self,
        spec: FeatureSpec,
        model_config: ModelConfig,
        config: FittingConfig,
        data: training_data.TrainingData,
        assets: Assets,
        *,
        seed: int,
        refit: bool,
        output_dir: Path,
        report: reports.Report,
        checkpoint_root: Path,
    ) -> None:
        """Sets up the job and seeds TensorFlow's random numbers; `run` does the training.

        Args:
            spec: the feature spec.
            model_config: the kind and sizes of the towers.
            config: how the towers are fitted.
            data: reads the examples.
            assets: vocabularies and statistics.
            seed: seed of everything random.
            refit: whether the towers are trained a second time, with the validation window.
            output_dir: directory of the checkpoints and the log.
            report: receives a report of every step.
            checkpoint_root: directory to which `checkpoint` paths of the spec are relative.
        """
        self.spec = spec
        self.model_config = model_config
        self.data = data
        self._assets = assets
        self.seed = seed
        self.refit = refit
        self.output_dir = output_dir
        self._report = report
        self._checkpoint_root = checkpoint_root
        self.messages: list[str] = []
        self._strategy = replicas.make_strategy(config.replicas)
        self.config = replicas.with_all_replicas(config, self._strategy)
        keras.utils.set_random_seed(seed)
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()

    def run(self) -> reports.TrainingResult:
        """Trains to the end; resumes from the last checkpoint if there is one.

        Raises:
            TrainingError: training diverged, or cannot start.
        """
        self.begin(with_validation_window=False)
        batch_size, message = fit_batch_size(self.num_learned, self.config)
        self.say(message)
        plan = plan_fit(self.num_learned, batch_size, self.config)
        fitting, first = self._fit(plan, log_position=0)
        last = first
        if self.refit:
            if first.validation is None:
                raise TrainingError(
                    "training.refit is set, but the split has no validation queries, so the best "
                    "number of epochs is unknown. Widen the validation window, or unset refit."
                )
            self.refresh_derived_state()
            self.finish_first_fit()
            self.begin(with_validation_window=True)
            refit_plan = plan_refit(plan, first.best_step, self.num_learned)
            fitting, last = self._fit(refit_plan, log_position=first.log_position)
        self.refresh_derived_state()
        if not self.refit:
            self.finish_first_fit()
        shutil.rmtree(self.output_dir / CHECKPOINTS)
        return reports.TrainingResult(
            best_step=first.best_step,
            best_epoch=plan.epoch(first.best_step),
            steps=last.best_step,
            refitted=self.refit,
            validation=first.validation or {},
            num_examples=len(self.table),
            batch_size=batch_size,
            temperature=float(self._task.temperature),
            seconds=first.seconds + (last.seconds if self.refit else 0.0),
            examples_per_s=fitting.examples_per_s,
            messages=tuple(self.messages),
        )

    def say(self, message: str) -> None:
        """Reports a message for the user now, and repeats it in the result; each only once."""
        if message and message not in self.messages:
            self.messages.append(message)
            self._report(reports.message_report(message))

    def begin(self, *, with_validation_window: bool) -> None:
        """Builds the towers of a phase and reads its tokens; the refit adds the second window."""
        self.assets = self._assets if with_validation_window else self._assets.of_first_fit()
        self.towers = self.build()
        self.table, self.corpus_tokens = self.read_window(with_validation_window)
        self.table = self.table.with_histories_of(self.model_config.history_length)
        self.num_learned = len(self.table)

    def read_window(self, with_validation_window: bool) -> training_data.Window:
        """Reads the examples of a phase, and the candidates as its towers know them."""
        return self.data.read_window(self.towers, with_validation_window=with_validation_window)

    def examples(self, phase: negative_lists.Phase) -> Examples:
        """Returns what a phase, `fit` or `refit`, is trained on."""
        del phase
        histories = tuple(feature.name for feature in self.spec.histories)
        if self.model_config.history_encoder == "mean" or self._strategy is not None:
            return self.table
        return PackedExamples.of(self.table, histories) if histories else self.table

    def terms(self, retrieval: RetrievalTask) -> list[objective.Term]:
        """Builds the terms beside the retrieval softmax."""
        return build.build_terms(self.config, self.model_config, self.towers, retrieval, self.seed)

    def validator(self) -> Measure | None:
        """Returns the measure of the first fit; None without validation queries."""
        queries = self.validation_queries()
        if queries is None:
            return None
        metrics = (self.metric, *self.config.further_metrics)
        return validation.Validator(self.towers, self.corpus_tokens, queries, metrics)

    @property
    def metric(self) -> str:
        """The validation metric."""
        return validation_metric(self.config)

    def validation_queries(self) -> query_set.QuerySet | None:
        """Reads a fixed sample of the validation queries; None if the split has none."""
        most = most_validation_queries(self.config)
        return self.data.validation_queries(self.towers.query, most, seed=self.seed)

    def finish_first_fit(self) -> None:
        """Hook: `towers` are those of the first fit, with their best weights."""

    def build(self) -> tower.Towers:
        """Builds new towers."""
        with self._scope():
            return build_towers(
                self.spec,
                self.model_config,
                self.assets,
                seed=self.seed,
                checkpoint_root=self._checkpoint_root,
            )

    def _scope(self) -> contextlib.AbstractContextManager[object]:
        return self._strategy.scope() if self._strategy else contextlib.nullcontext()

    def refresh_derived_state(self) -> None:
        """Recomputes what the towers derive from their weights."""
        self.towers.refresh_derived_state(self.corpus_tokens)

    def _fit(self, plan: Plan, *, log_position: int) -> tuple[Fitting, Progress]:
        log_position = self.start(log_position)
        validator = self.validator() if plan.phase == "fit" else None
        if plan.phase == "fit" and validator is None and self.config.early_stopping is not None:
            self.say("the split has no validation queries: training runs to its end")
        examples = self.examples("fit" if plan.phase == "fit" else "refit")
        fitting = self.fitting(plan, self.config, self.table, examples, log_position, validator)
        return fitting, fitting.run()

    def start(self, log_position: int = 0) -> int:
        """Gives new towers the weights that they have before the first training example.

        Returns:
            Size of the training log in bytes after this has written to it, at `log_position`.
        """
        for message in first_weights.set_first_weights(
            self.towers,
            self.model_config,
            self.config,
            self.corpus_tokens,
            self.table.tokens,
            seed=self.seed,
        ):
            self.say(message)
        return log_position

    def fitting(
        self,
        plan: Plan,
        config: FittingConfig,
        table: training_examples.ExampleTable,
        examples: Examples,
        log_position: int,
        validator: Measure | None = None,
    ) -> Fitting:
        """Builds the model that trains the towers on a table, and its training by a plan."""
        # Towers that know more ids cannot take the weights of others.
        name = f"{plan.phase}_fresh" if self.assets.num_fresh else plan.phase
        with self._scope():
            sampling = negatives.build_sampling(
                config.softmax,
                table,
                self.corpus_tokens,
                self.data.counts(table),
                batch_size=plan.batch_size,
                embedding_dim=self.model_config.vector_dim,
                seed=self.seed,
            )
            self._task = build.build_retrieval_task(config, self.model_config)
            terms = self.terms(self._task)
            model = two_tower_model.compiled_model(
                self.towers, self._task, terms, sampling, config, self.frozen
            )
        return Fitting(
            model,
            examples,
            plan,
            config,
            seed=self.seed,
            validator=validator,
            directory=self.output_dir / CHECKPOINTS / name,
            log_path=self.output_dir / TRAINING_LOG,
            log_position=log_position,
            strategy=self._strategy,
            report=self._report,
        )
