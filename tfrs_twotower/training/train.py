"""Trains two towers: from an artifact, which writes them to disk, or in place from a dataset."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import tensorflow as tf

from tfrs_twotower.artifacts.layout import FIRST_FIT_WEIGHTS
from tfrs_twotower.config import OptimizerConfig, RunConfig, WideConfig
from tfrs_twotower.data import first_fit
from tfrs_twotower.data.assets import load_assets
from tfrs_twotower.errors import TrainingError
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers import protocol, storage, tower, wide
from tfrs_twotower.training import (
    dataset_fitting,
    replicas,
    reports,
    training_data,
    wide_tables,
    wide_weights,
)
from tfrs_twotower.training.fitting import Measure
from tfrs_twotower.training.job import Job
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
    storage.save_towers(job.finished_towers(), spec, config.model, assets, output_dir)
    return replace(result, wide=job.wide_facts)


class RetrievalJob(Job):
    """Trains the retrieval model, and keeps the weights and the recall of the first fit."""

    _validator: Measure | None = None
    _weights: wide_weights.WideWeights | None = None
    _tables: wide_tables.WideTables | None = None
    wide_facts: dict[str, Any] | None = None
    """What `model.wide` came to, for the manifest; None without it."""

    def validator(self) -> Measure | None:
        """Returns the measure of the first fit; None without validation queries."""
        self._validator = super().validator()
        return self._validator

    def finish_first_fit(self) -> None:
        """Fits the wide part, and writes what the first fit is and is worth if a second follows.

        The second learns the validation queries, so that it cannot be measured on them, nor can
        weights be fitted on them.
        """
        validator, self._validator = self._validator, None
        if self.model_config.wide is not None:
            self._fit_wide_part(self.model_config.wide)
        if self.refit and isinstance(validator, Validator):
            recall = first_fit.FirstFitRecall(
                validator.num_queries, tuple(validator.recall_by_length(first_fit.LONGEST))
            )
            if self._weights is not None:
                recall = first_fit.FirstFitRecall(self._weights.num_queries, self._weights.recall)
            recall.write(self.output_dir)
            storage.write_weights(
                self._with_wide_part(self._tables).named_variables(),
                self.output_dir / FIRST_FIT_WEIGHTS,
            )

    def finished_towers(self) -> tower.Towers:
        """The trained towers, with the wide part of the window that they have learned."""
        config = self.model_config.wide
        if self._weights is not None and self.refit and config is not None:
            return self._with_wide_part(self._fit_tables(config))
        return self._with_wide_part(self._tables)

    def _fit_tables(self, config: WideConfig) -> wide_tables.WideTables:
        return wide_tables.fit_tables(
            self.spec, config, self.assets, self.data.corpus, self.table, seed=self.seed
        )

    def _fit_wide_part(self, config: WideConfig) -> None:
        queries = self.validation_queries()
        if queries is None:
            raise TrainingError(
                "model.wide fits its weights on validation queries, and the split has none. Widen "
                "the validation window, or leave model.wide out."
            )
        self._tables = self._fit_tables(config)
        self._weights = wide_weights.fit_weights(
            self.towers,
            self._tables,
            self.spec,
            queries.sample(wide_weights.MOST_QUERIES, seed=self.seed),
            self.corpus_tokens,
            self.metric,
            first_fit.LONGEST,
        )
        self.wide_facts, message = wide_weights.describe(
            self._weights, self._tables, self.model_config.embedding_dim, self.metric
        )
        self.say(message)

    def _with_wide_part(self, tables: wide_tables.WideTables | None) -> tower.Towers:
        if self._weights is None or tables is None:
            return self.towers
        return wide.WideTowers(self.towers, self._weights.part(tables), self.spec)
