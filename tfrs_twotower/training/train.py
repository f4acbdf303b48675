"""From a preprocessed artifact to trained towers on disk."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tfrs_twotower.artifacts.layout import TRAINING_LOG
from tfrs_twotower.config import RunConfig
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.data.corpus import load_corpus
from tfrs_twotower.data.example_table import ExampleTable
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.keras_api import keras
from tfrs_twotower.losses.masks import KnownPositives
from tfrs_twotower.losses.sampling_probability import CountedFrequency, StreamingFrequency
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers.build import build_towers
from tfrs_twotower.towers.storage import save_towers
from tfrs_twotower.towers.token_weights import start_token_weights_at_idf
from tfrs_twotower.towers.tower import Towers
from tfrs_twotower.training.fitting import Fitting
from tfrs_twotower.training.inputs import TrainingData
from tfrs_twotower.training.model import NegativeSampling, TwoTowerModel
from tfrs_twotower.training.optimizers import make_optimizer
from tfrs_twotower.training.plan import Plan, fit_batch_size, plan_fit, plan_refit
from tfrs_twotower.training.replicas import make_strategy
from tfrs_twotower.training.reports import Report, StepReport, TrainingResult
from tfrs_twotower.training.validation import Validator

CHECKPOINTS = "checkpoints"
_DEFAULT_METRIC = "recall@100"
_DEFAULT_QUERIES = 10_000


def ignore_report(report: StepReport) -> None:
    """Drops a report."""


def train(
    spec: FeatureSpec,
    config: RunConfig,
    preprocessed_dir: Path,
    output_dir: Path,
    report: Report = ignore_report,
    *,
    checkpoint_root: Path = Path(),
) -> TrainingResult:
    """Trains both towers and writes them; continues a killed run from its last checkpoint.

    The weights depend on the documents, the data and the seed only, not on how often the run was
    interrupted. Checkpoints lie in `output_dir/checkpoints` and are removed at the end.

    Args:
        spec: the feature spec.
        config: the run config; `model`, `training` and `seed` are read.
        preprocessed_dir: a finished preprocessed artifact.
        output_dir: an existing directory; the towers, their assets and the log are written here.
        report: is told of every step.
        checkpoint_root: where relative `checkpoint` directories of the spec start.

    Raises:
        TrainingError: training diverged, or cannot start.
        ArtifactError: the preprocessed artifact cannot be read, or does not fit the spec.
    """
    training = config.training
    strategy = make_strategy(training.replicas)
    keras.utils.set_random_seed(config.seed)
    if training.deterministic:
        tf.config.experimental.enable_op_determinism()
    assets = load_assets(preprocessed_dir)
    data = TrainingData(
        preprocessed_dir,
        spec,
        load_corpus(preprocessed_dir, spec),
        assets.statistics.get("window") or {},
        training,
    )
    messages: list[str] = []

    def say(message: str) -> None:
        messages.append(message)
        report(StepReport(0, 0, 0.0, {}, 0.0, 0.0, 0.0, message=message))

    def build() -> Towers:
        with strategy.scope() if strategy else contextlib.nullcontext():
            return build_towers(
                spec, config.model, assets, seed=config.seed, checkpoint_root=checkpoint_root
            )

    def fitting(towers: Towers, table: ExampleTable, plan: Plan, log_position: int) -> Fitting:
        return _prepare(
            data, config, towers, table, plan, strategy, output_dir, log_position, report, say
        )

    towers = build()
    table = data.examples(towers.query, with_fresh=False)
    batch_size, message = fit_batch_size(len(table), training)
    if message:
        say(message)
    plan = plan_fit(len(table), batch_size, training)
    last_fitting = fitting(towers, table, plan, 0)
    first = last = last_fitting.run()
    if training.refit:
        if first.validation is None:
            raise TrainingError(
                "training.refit is set, but the split has no validation queries, so the best "
                "number of epochs is not known. Widen the validation window, or unset refit."
            )
        towers = build()
        table = data.examples(towers.query, with_fresh=True)
        refit_plan = plan_refit(plan, first.best_step, len(table))
        last_fitting = fitting(towers, table, refit_plan, first.log_position)
        last = last_fitting.run()
    save_towers(towers, spec, config.model, assets, output_dir)
    shutil.rmtree(output_dir / CHECKPOINTS)
    return TrainingResult(
        best_step=first.best_step,
        best_epoch=plan.epoch(first.best_step),
        steps=last.best_step,
        refitted=training.refit,
        validation=first.validation or {},
        num_examples=len(table),
        batch_size=batch_size,
        temperature=last_fitting.temperature,
        seconds=first.seconds + (last.seconds if training.refit else 0.0),
        examples_per_s=last_fitting.examples_per_s,
        messages=tuple(messages),
    )


def _prepare(
    data: TrainingData,
    config: RunConfig,
    towers: Towers,
    table: ExampleTable,
    plan: Plan,
    strategy: tf.distribute.Strategy | None,
    output_dir: Path,
    log_position: int,
    report: Report,
    say: Callable[[str], None],
) -> Fitting:
    training, softmax = config.training, config.training.softmax
    corpus_tokens = data.corpus_tokens(towers.candidate)
    if config.model.bag_weights == "idf":
        start_token_weights_at_idf(
            towers, {name: value.numpy() for name, value in corpus_tokens.items()}
        )
    counts = data.counts(table)
    num_candidates = len(data.corpus)
    frequency: CountedFrequency | StreamingFrequency | None = None
    known = None
    if softmax.mask_other_positives:
        known = KnownPositives(
            table.query_rows,
            table.candidate_rows,
            num_queries=len(table.query_ids),
            num_candidates=num_candidates,
        )
    with strategy.scope() if strategy else contextlib.nullcontext():
        if softmax.logq == "counted":
            frequency = CountedFrequency(counts, batch_size=plan.batch_size)
        elif softmax.logq == "streaming":
            # The mean gap if all candidates were alike.
            gap = max(1.0, num_candidates / plan.batch_size)
            frequency = StreamingFrequency(num_candidates, initial_gap=gap)
        model = TwoTowerModel(
            towers.query,
            towers.candidate,
            task=RetrievalTask(
                temperature=softmax.temperature,
                learn_temperature=softmax.learn_temperature,
                logq_strength=softmax.logq_strength,
            ),
            sampling=NegativeSampling(
                corpus_tokens,
                num_candidates,
                softmax.num_uniform_negatives,
                frequency,
                known,
                config.seed,
            ),
            clip_norm=training.optimizer.clip_norm,
        )
        model.compile(optimizer=make_optimizer(training.optimizer))
        model.optimizer.build(model.trainable_variables)
    stopping = training.early_stopping
    validator = None
    if plan.phase == "fit":
        most = stopping.max_queries if stopping else _DEFAULT_QUERIES
        queries = data.validation_queries(towers.query, counts, most, seed=config.seed)
        if queries is not None:
            metrics = (stopping.metric if stopping else _DEFAULT_METRIC,)
            validator = Validator(towers.query, towers.candidate, corpus_tokens, queries, metrics)
        elif stopping is not None:
            say("the split has no validation queries: training runs to its end")
    return Fitting(
        model,
        table,
        plan,
        training,
        seed=config.seed,
        validator=validator,
        directory=output_dir / CHECKPOINTS / plan.phase,
        log_path=output_dir / TRAINING_LOG,
        log_position=log_position,
        strategy=strategy,
        report=report,
    )
