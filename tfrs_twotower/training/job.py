"""One training of a pair of towers: fit, and fit again with the validation window if asked."""

import contextlib
import shutil
from functools import cached_property
from pathlib import Path

import tensorflow as tf

from tfrs_twotower.artifacts.layout import TRAINING_LOG
from tfrs_twotower.config import FittingConfig, IntTowerConfig, ModelConfig
from tfrs_twotower.data.assets import Assets
from tfrs_twotower.data.negative_lists import Phase
from tfrs_twotower.data.training_examples import ExampleTable
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.keras_api import keras
from tfrs_twotower.losses.cross_batch_memory import CrossBatchMemory
from tfrs_twotower.losses.masks import KnownPositives
from tfrs_twotower.losses.sampling_probability import CountedFrequency, StreamingFrequency
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.tasks.build import build_retrieval_task, build_terms
from tfrs_twotower.tasks.objective import Term
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.fields import start_token_weights_at_idf
from tfrs_twotower.towers.tower import Towers
from tfrs_twotower.training.fitting import Examples, Fitting, Measure
from tfrs_twotower.training.negatives import NegativeSampling
from tfrs_twotower.training.optimizers import make_optimizer
from tfrs_twotower.training.plan import Plan, fit_batch_size, plan_fit, plan_refit
from tfrs_twotower.training.replicas import make_strategy
from tfrs_twotower.training.reports import Report, TrainingResult, message_report
from tfrs_twotower.training.training_data import TrainingData
from tfrs_twotower.training.two_tower_model import TwoTowerModel
from tfrs_twotower.training.validation import ValidationQueries, Validator

CHECKPOINTS = "checkpoints"
_DEFAULT_METRIC = "recall@100"
_DEFAULT_QUERIES = 10_000


def validation_metric(config: FittingConfig) -> str:
    """Which metric validation looks at."""
    return config.early_stopping.metric if config.early_stopping else _DEFAULT_METRIC


def most_validation_queries(config: FittingConfig) -> int:
    """How many validation queries are looked at, at most."""
    return config.early_stopping.max_queries if config.early_stopping else _DEFAULT_QUERIES


class Job:
    """Trains a retrieval model; the pre-ranker's job changes what is learned from.

    Attributes:
        towers: those of the phase that runs; at the end, the trained ones.
        table: the examples of that phase.
    """

    towers: Towers
    table: ExampleTable

    def __init__(
        self,
        spec: FeatureSpec,
        model_config: ModelConfig,
        config: FittingConfig,
        data: TrainingData,
        assets: Assets,
        *,
        seed: int,
        refit: bool,
        output_dir: Path,
        report: Report,
        checkpoint_root: Path,
    ) -> None:
        """Describes the job and starts TensorFlow's random numbers; `run` does the work.

        Args:
            spec: the feature spec.
            model_config: which towers.
            config: how they are fitted.
            data: reads the examples.
            assets: vocabularies and statistics.
            seed: of everything random.
            refit: whether the towers are trained a second time, with the validation window.
            output_dir: checkpoints and the log go here.
            report: is told of every step.
            checkpoint_root: where relative `checkpoint` directories of the spec start.
        """
        self.spec = spec
        self.model_config = model_config
        self.config = config
        self.data = data
        self.assets = assets
        self.seed = seed
        self.refit = refit
        self.output_dir = output_dir
        self._report = report
        self._checkpoint_root = checkpoint_root
        self._messages: list[str] = []
        self._strategy = make_strategy(config.replicas)
        keras.utils.set_random_seed(seed)
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()

    def run(self) -> TrainingResult:
        """Trains to the end; continues from the last checkpoint if there is one.

        Raises:
            TrainingError: training diverged, or cannot start.
        """
        self.towers = self._build()
        self.table = self.read_table(with_fresh=False)
        batch_size, message = fit_batch_size(len(self.table), self.config)
        if message:
            self.say(message)
        plan = plan_fit(len(self.table), batch_size, self.config)
        model, fitting = self._prepare(plan, log_position=0)
        first = last = fitting.run()
        if self.refit:
            if first.validation is None:
                raise TrainingError(
                    "training.refit is set, but the split has no validation queries, so the best "
                    "number of epochs is not known. Widen the validation window, or unset refit."
                )
            self._settle()
            self.finish_first_fit()
            self.towers = self._build()
            self.table = self.read_table(with_fresh=True)
            refit_plan = plan_refit(plan, first.best_step, len(self.table))
            model, fitting = self._prepare(refit_plan, log_position=first.log_position)
            last = fitting.run()
        self._settle()
        if not self.refit:
            self.finish_first_fit()
        shutil.rmtree(self.output_dir / CHECKPOINTS)
        return TrainingResult(
            best_step=first.best_step,
            best_epoch=plan.epoch(first.best_step),
            steps=last.best_step,
            refitted=self.refit,
            validation=first.validation or {},
            num_examples=len(self.table),
            batch_size=batch_size,
            temperature=float(model.task.temperature),
            seconds=first.seconds + (last.seconds if self.refit else 0.0),
            examples_per_s=fitting.examples_per_s,
            messages=tuple(self._messages),
        )

    def say(self, message: str) -> None:
        """Tells a person something, now and in the result."""
        self._messages.append(message)
        self._report(message_report(message))

    @cached_property
    def corpus_tokens(self) -> dict[str, tf.Tensor]:
        """`[num_candidates, ...]` by name; they do not depend on the towers' weights."""
        return self.data.corpus_tokens(self.towers.candidate)

    def read_table(self, *, with_fresh: bool) -> ExampleTable:
        """The examples of a phase; with those of the validation window for the second."""
        return self.data.examples(self.towers.query, with_fresh=with_fresh)

    def examples(self, phase: Phase) -> Examples:
        """What a phase, `fit` or `refit`, is trained on."""
        del phase
        return self.table

    def terms(self, retrieval: RetrievalTask) -> list[Term]:
        """The terms beside the retrieval softmax."""
        return build_terms(self.config, self.model_config, self.towers, retrieval)

    def validator(self) -> Measure | None:
        """What measures the first fit; None without validation queries."""
        queries = self.validation_queries()
        if queries is None:
            return None
        return Validator(self.towers, self.corpus_tokens, queries, (self.metric,))

    @property
    def metric(self) -> str:
        """The validation metric."""
        return validation_metric(self.config)

    def validation_queries(self) -> ValidationQueries | None:
        """A fixed sample of the validation queries; None if the split has none."""
        most = most_validation_queries(self.config)
        counts = self.data.counts(self.table)
        return self.data.validation_queries(self.towers.query, counts, most, seed=self.seed)

    def finish_first_fit(self) -> None:
        """Is called when `towers` are those of the first fit, with their best weights."""

    def _build(self) -> Towers:
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

    def _settle(self) -> None:
        self.towers.settle(self.corpus_tokens)

    def _prepare(self, plan: Plan, *, log_position: int) -> tuple[TwoTowerModel, Fitting]:
        corpus_tokens = self.corpus_tokens
        if self.model_config.bag_weights == "idf":
            start_token_weights_at_idf(
                self.towers, {name: value.numpy() for name, value in corpus_tokens.items()}
            )
        if isinstance(self.model_config, IntTowerConfig) and self.model_config.cosine_heads:
            self.towers.scorer.start_at(1.0 / self.config.softmax.temperature)
        self.towers.enrol(self.table.tokens, corpus_tokens)
        model = self._model(plan.batch_size)
        validator = None
        if plan.phase == "fit":
            validator = self.validator()
            if validator is None and self.config.early_stopping is not None:
                self.say("the split has no validation queries: training runs to its end")
        return model, Fitting(
            model,
            self.examples(plan.phase),
            plan,
            self.config,
            seed=self.seed,
            validator=validator,
            directory=self.output_dir / CHECKPOINTS / plan.phase,
            log_path=self.output_dir / TRAINING_LOG,
            log_position=log_position,
            strategy=self._strategy,
            report=self._report,
        )

    def _model(self, batch_size: int) -> TwoTowerModel:
        softmax, num_candidates = self.config.softmax, len(self.data.corpus)
        table = self.table
        known = None
        if softmax.mask_other_positives:
            known = KnownPositives(
                table.query_rows,
                table.candidate_rows,
                num_queries=len(table.query_ids),
                num_candidates=num_candidates,
            )
        frequency: CountedFrequency | StreamingFrequency | None = None
        memory = None
        with self._scope():
            if softmax.logq == "counted":
                frequency = CountedFrequency(self.data.counts(table), batch_size=batch_size)
            elif softmax.logq == "streaming":
                # The mean gap if all candidates were alike.
                gap = max(1.0, num_candidates / batch_size)
                frequency = StreamingFrequency(num_candidates, initial_gap=gap)
            if softmax.cross_batch_memory:
                dim = self.model_config.embedding_dim
                memory = CrossBatchMemory(softmax.cross_batch_memory, dim)
            task = build_retrieval_task(softmax)
            model = TwoTowerModel(
                self.towers,
                task=task,
                terms=self.terms(task),
                sampling=NegativeSampling(
                    self.corpus_tokens,
                    num_candidates,
                    softmax.num_uniform_negatives,
                    frequency,
                    known,
                    memory,
                    self.seed,
                ),
                clip_norm=self.config.optimizer.clip_norm,
            )
            model.compile(optimizer=make_optimizer(self.config.optimizer))
            model.optimizer.build(model.trainable_variables)
        return model
