"""What the processes of a run need before its first stage: an engine, devices, other workers."""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.stages.context import StageContext
from tfrs_twotower.artifacts.manifest import Kind
from tfrs_twotower.config import FittingConfig, RunConfig
from tfrs_twotower.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.stages.sequence import Stage

_TRAINED: tuple[Kind, ...] = ("model", "pre_ranker")


def join_cluster(context: StageContext, stages: Sequence["Stage"]) -> bool:
    """Joins the cluster of `TF_CONFIG`, if it names one; waits for its other processes.

    Returns:
        Whether this process keeps what it makes. A worker that is not the chief does not: it only
        helps to train, see `help_to_train`.

    Raises:
        ConfigError: a cluster cannot run these stages.
        TrainingError: the cluster cannot be had.
    """
    if os.environ.get("TF_CONFIG") and any(stage.kind in _TRAINED for stage in stages):
        from tfrs_twotower.training import workers

        cluster = workers.find_cluster()
        if cluster is not None:
            _check_cluster(context.config, [stage.name for stage in stages])
            workers.join()
            return cluster.is_chief
    return True


def prepare(context: StageContext, stages: Sequence["Stage"]) -> None:
    """Refuses what would fail later, and asks TensorFlow for devices before it is used.

    Raises:
        ConfigError: Beam would not take its options.
        TrainingError: the devices cannot be had.
    """
    if context.beam_options:
        from pipelines.transforms.beam_job import parse_beam_options

        parse_beam_options(context.beam_options)
    reserve_devices(context.config, stages)


def _check_cluster(config: RunConfig, stages: Sequence[str]) -> None:
    if list(stages) != ["train"]:
        raise ConfigError(
            f"TF_CONFIG names several processes, and this command runs {', '.join(stages)}. They "
            "train the towers and nothing else: start `twotower train` in each of them, and unset "
            "TF_CONFIG for the other stages."
        )
    if config.training.replicas != 1:
        raise ConfigError(
            f"training.replicas is {config.training.replicas}, and TF_CONFIG names several "
            "processes, each of which is one replica (or one for each GPU). Set "
            "training.replicas to 1."
        )


def reserve_devices(config: RunConfig, stages: Sequence["Stage"]) -> None:
    """Reserves what replicas train on before another stage of this process uses TensorFlow."""
    fittings: dict[Kind, FittingConfig | None] = {
        "model": config.training,
        "pre_ranker": config.pre_ranking,
    }
    trained = [fittings.get(stage.kind) for stage in stages]
    most = max((fitting.replicas for fitting in trained if fitting is not None), default=1)
    if most > 1:
        from tfrs_twotower.training import replicas

        replicas.reserve_devices(most)


def help_to_train(context: StageContext) -> float:
    """Trains as a worker that is not the chief, and keeps nothing; returns the seconds."""
    from pipelines.stages import train

    started = time.monotonic()
    context.reporter.message("A worker of TF_CONFIG: it trains, and the chief keeps the result.")
    with tempfile.TemporaryDirectory() as scratch:
        train.train_towers(context, Path(scratch))
    return time.monotonic() - started
