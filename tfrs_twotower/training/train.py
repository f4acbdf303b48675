"""Trains two towers: from an artifact, which writes them to disk, or in place from a dataset."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, overload

import tensorflow as tf

from tfrs_twotower.config import OptimizerConfig, RunConfig
from tfrs_twotower.specs import FeatureSpec
from tfrs_twotower.tasks.retrieval import RetrievalTask
from tfrs_twotower.towers import protocol
from tfrs_twotower.training import dataset_fitting, reports
from tfrs_twotower.training.retrieval_job import train_towers
from tfrs_twotower.training.warm_start import WarmStart


@overload
def train(
    data: Path,
    *,
    spec: FeatureSpec,
    config: RunConfig,
    output_dir: Path,
    report: reports.Report = ...,
    checkpoint_root: Path = ...,
    start: WarmStart | None = ...,
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
    start: WarmStart | None = None,
) -> reports.TrainingResult:
    """Trains both towers and writes them; resumes a killed run from its last checkpoint.

    The weights depend only on the documents, the data and the seed, not on interruptions. The
    checkpoints are in `output_dir/checkpoints` and are removed at the end. With `training.refit`
    the weights of the first fit are kept beside the final ones: whatever is later fitted on
    validation queries needs towers that have not learned from them.

    With `training.ance` it trains in rounds (see `rounds`), unless it is a daily training.

    With `TF_CONFIG` (see `workers`) each process of the cluster calls this with a directory of its
    own; what the chief writes counts, and it alone has checkpoints.

    Args:
        data: a finished preprocessed artifact.
        spec: the feature spec.
        config: the run config; `model`, `training` and `seed` are read.
        output_dir: an existing directory; the towers, their assets and the log are written here.
        report: receives a report of every step.
        checkpoint_root: directory to which `checkpoint` paths of the spec are relative.
        start: the model that a daily training goes on from; None trains from the start.

    Raises:
        TrainingError: training diverged, or cannot start.
        WorkerLost: another process of the cluster has ended.
        ArtifactError: the preprocessed artifact cannot be read, or does not fit the spec.
    """
    run = partial(
        train_towers,
        data,
        spec=spec,
        config=config,
        report=report,
        checkpoint_root=checkpoint_root,
    )
    if start is not None:
        training = start.training(config.training)
        return run(training=training, output_dir=output_dir, start=start)
    if config.training.ance is None:
        return run(training=config.training, output_dir=output_dir)
    from tfrs_twotower.training.rounds import Rounds  # imports what only mining needs

    rounds = Rounds(data, spec, config, config.training.ance, output_dir, report, run)
    return rounds.train()
