"""Trains two towers: from an artifact, which writes them to disk, or in place from a dataset."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import tensorflow as tf

from tfrs_twotower.artifacts.layout import FIRST_FIT_WEIGHTS
from tfrs_twotower.config import OptimizerConfig, RunConfig, TrainingConfig
from tfrs_twotower.data import first_fit
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers import protocol, storage
from tfrs_twotower.training import dataset_fitting, replicas, reports, training_data
from tfrs_twotower.training.fitting import Measure
from tfrs_twotower.training.job import CHECKPOINTS, Job
from tfrs_twotower.training.plan import fit_batch_size, plan_fit
from tfrs_twotower.training.pseudo_questions import make_examples
from tfrs_twotower.training.query_map import fit_query_map
from tfrs_twotower.training.validation import Validator


@overload
def train(
    data: Path,
    *,
    spec: FeatureSpec,
    config: RunConfig,
    output_dir: Path,
    report: reports.Report = ...,
    checkpoint_root: Path = ...,
) -> reports.TrainingResult: ...


@overload
def train(
    data: tf.data.Dataset,
    *,
    towers: protocol.TwoTowers,
    task: RetrievalTask | None = ...,
    optimizer: OptimizerConfig = ...,
    epochs: int = ...,
    candidate_id: str | None = ...,
    query_id: str | None = ...,
    candidate_counts: Mapping[str, int] | Mapping[int, int] | None = ...,
    logq: bool = ...,
    report: reports.Report = ...,
) -> reports.TrainingResult: ...


def train(data: Any, **settings: Any) -> reports.TrainingResult:
    """Trains two towers.

    From a `preprocessed` artifact (a path) it builds the towers that `spec` and `config` describe
    and writes them into `output_dir`: see `train_on_artifact`. From a `tf.data.Dataset` of positive
    pairs it trains the given towers in place: see `train_on_dataset`.

    Raises:
        TrainingError: training diverged, or cannot start.
        ArtifactError: the preprocessed artifact cannot be read, or does not fit the spec.
        ValueError: the batches of the dataset do not have the documented form.
    """
    if isinstance(data, tf.data.Dataset):
        return dataset_fitting.train_on_dataset(data, **settings)
    return train_on_artifact(data, **settings)


def train_on_artifact(
    data: Path,
    *,
    spec: FeatureSpec,
    config: RunConfig,
    output_dir: Path,
    report: reports.Report = reports.ignore_report,
    checkpoint_root: Path = Path(),
) -> reports.TrainingResult:
    """Trains both towers and writes them; resumes a killed run from its last checkpoint.

    The weights depend only on the documents, the data and the seed, not on interruptions. The
    checkpoints are in `output_dir/checkpoints` and are removed at the end. With `training.refit`
    the weights of the first fit are kept beside the final ones: whatever is later fitted on
    validation queries needs towers that have not learned from them.

    Args:
        data: a finished preprocessed artifact.
        spec: the feature spec.
        config: the run config; `model`, `training` and `seed` are read.
        output_dir: an existing directory; the towers, their assets and the log are written here.
        report: receives a report of every step.
        checkpoint_root: directory to which `checkpoint` paths of the spec are relative.

    Raises:
        TrainingError: training diverged, or cannot start.
        ArtifactError: the preprocessed artifact cannot be read, or does not fit the spec.
    """
    replicas.reserve_devices(config.training.replicas)
    assets = load_assets(data)
    job = RetrievalJob(
        spec,
        config.model,
        config.training,
        training_data.open_training_data(data, spec, config.training, assets),
        assets,
        seed=config.seed,
        refit=config.training.refit,
        output_dir=output_dir,
        report=report,
        checkpoint_root=checkpoint_root,
    )
    result = job.run()
    storage.save_towers(job.towers, spec, config.model, assets, output_dir)
    return result


class RetrievalJob(Job):
    """Trains the retrieval model, and keeps the weights and the recall of the first fit."""

    config: TrainingConfig
    _validator: Measure | None = None

    def run(self) -> reports.TrainingResult:
        """Trains to the end; without epochs, the towers stay as they start, and are measured."""
        if self.config.epochs != 0:
            return super().run()
        self._begin(with_validation_window=False)
        validator = self.validator()
        measured = validator.measure() if validator else {}
        self.refresh_derived_state()
        self.finish_first_fit()
        if self.refit:
            self._begin(with_validation_window=True)
            self.refresh_derived_state()
        shutil.rmtree(self.output_dir / CHECKPOINTS, ignore_errors=True)
        self.say(
            "nothing is trained on examples (training.epochs is 0): the towers rank as they start"
        )
        return reports.TrainingResult(
            best_step=0,
            best_epoch=0.0,
            steps=0,
            refitted=self.refit,
            validation=measured,
            num_examples=len(self.table),
            batch_size=self.config.batch_size,
            temperature=self.config.softmax.temperature,
            seconds=0.0,
            examples_per_s=0.0,
            messages=tuple(self.messages),
        )

    def _begin(self, *, with_validation_window: bool) -> None:
        self.towers = self.build()
        self.table = self.read_table(with_validation_window=with_validation_window)
        self.start()

    def start(self) -> int:
        """Trains on pseudo-questions, if the config asks for them, and then sets the query map."""
        super().start()
        log_position = self._warm_up()
        if self.model_config.query_map == "ridge":
            self.say(
                fit_query_map(
                    self.towers,
                    self.table,
                    self.corpus_tokens,
                    metric=self.metric,
                    seed=self.seed,
                )
            )
        return log_position

    def _warm_up(self) -> int:
        """Trains on pseudo-questions; a refit takes the weights that this gave the first fit."""
        section = self.config.pseudo_questions
        if section is None:
            return 0
        table = make_examples(self.towers, self.data.corpus.raw, section, seed=self.seed)
        config = self.config.model_copy(update={"epochs": section.epochs, "max_steps": None})
        batch_size, _ = fit_batch_size(len(table), config)
        plan = replace(plan_fit(len(table), batch_size, config), phase="warm_up")
        self.say(f"warm-up on {len(table):,} pseudo-questions, {plan.last_step:,} steps")
        return self.fitting(plan, config, table, table, log_position=0).run().log_position

    def validator(self) -> Measure | None:
        """Returns the measure of the first fit; None without validation queries."""
        self._validator = super().validator()
        return self._validator

    def finish_first_fit(self) -> None:
        """Writes what the first fit is and what it is worth, if a second follows.

        The second learns the validation queries, so that it cannot be measured on them.
        """
        validator, self._validator = self._validator, None
        if self.refit and isinstance(validator, Validator):
            storage.write_weights(
                self.towers.named_variables(), self.output_dir / FIRST_FIT_WEIGHTS
            )
            first_fit.FirstFitRecall(
                validator.num_queries, tuple(validator.recall_by_length(first_fit.LONGEST))
            ).write(self.output_dir)
