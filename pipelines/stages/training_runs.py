"""Shared parts of the two training stages: resuming, progress, and results."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.stages.context import StageContext
from tfrs_twotower.artifacts import Lineage, replace_file, staging_directory
from tfrs_twotower.training.reports import StepReport, TrainingResult

WENT_ON_FROM = "went_on_from"
"""Key in the details of a model: fingerprint of the model that a daily training began with."""
FROZEN = "frozen_candidate_tower"
"""Key beside it: whether the candidate tower is still that model's."""
_ORIGIN_NAME = "resumable.json"
_REPORT_EVERY_S = 0.2


@dataclass(frozen=True)
class TrainingStaging:
    """The staging directory of a training, which a killed training continues in.

    Attributes:
        directory: where the training writes.
    """

    directory: Path

    def close(self) -> None:
        """Marks the training as finished, so that no later run continues it."""
        (self.directory / _ORIGIN_NAME).unlink()


def open_training(context: StageContext, destination: Path, lineage: Lineage) -> TrainingStaging:
    """Opens a staging directory; it keeps the checkpoints of an earlier run with the same origin.

    Args:
        context: the run, which reports if a training continues.
        destination: directory of the artifact.
        lineage: fingerprints of everything that the training reads.
    """
    staging = staging_directory(destination, keep=True)
    origin = {
        "spec": lineage.spec_fingerprint,
        "config": lineage.config_fingerprint,
        **lineage.parents,
    }
    origin_file = staging / _ORIGIN_NAME
    try:
        resumable = json.loads(origin_file.read_text(encoding="utf-8")) == origin
    except (OSError, ValueError):
        resumable = False
    if resumable:
        context.reporter.message("Continuing a training that was interrupted.")
        return TrainingStaging(staging)
    shutil.rmtree(staging)
    staging.mkdir()
    replace_file(origin_file, json.dumps(origin) + "\n")
    return TrainingStaging(staging)


def training_details(result: TrainingResult) -> dict[str, Any]:
    """`counts` and `details` for the manifest."""
    return {
        "counts": {
            "train_examples": result.num_examples,
            "steps": result.steps,
            "batch_size": result.batch_size,
        },
        "details": {
            "best_step": result.best_step,
            "best_epoch": round(result.best_epoch, 4),
            "refitted": result.refitted,
            "validation": result.validation,
            "temperature": result.temperature,
            "seconds": round(result.seconds, 3),
            "examples_per_s": round(result.examples_per_s, 1),
            "messages": list(result.messages),
            **({} if result.wide is None else {"wide": result.wide}),
            **({"rounds": list(result.rounds)} if result.rounds else {}),
        },
    }


class TrainingProgress:
    """Passes the reports of a training on to the run's reporter, a few in a second."""

    def __init__(self, context: StageContext) -> None:
        self._reporter, self._watch = context.reporter, context.watch
        self._last = 0.0

    def __call__(self, report: StepReport) -> None:
        """Passes one report on."""
        if report.message:
            self._reporter.message(report.message)
            return
        if report.validation is not None:
            if self._watch is not None:
                self._watch(report.validation)
            self._reporter.message(
                f"epoch {report.epoch:.1f}: {ranking_metrics(report.validation)}"
            )
        now = time.monotonic()
        if now - self._last < _REPORT_EVERY_S and report.step < report.total_steps:
            return
        self._last = now
        self._reporter.progress(
            "refit" if report.phase == "refit" else "train",
            report.step,
            report.total_steps,
            f"epoch {report.epoch:.1f}, loss {report.losses['loss']:.4f}, "
            f"{report.examples_per_s:,.0f} examples/s",
        )


def report_result(context: StageContext, result: TrainingResult) -> None:
    """Reports which weights were kept, and their validation metrics."""
    metrics = ranking_metrics(result.validation)
    context.reporter.message(
        f"Kept the weights of step {result.best_step} (epoch {result.best_epoch:.1f})"
        + (f": {metrics} on validation, the best of the evaluated ones" if metrics else "")
        + (f"; trained again for {result.steps} steps with validation" if result.refitted else "")
    )


def ranking_metrics(validation: dict[str, float]) -> str:
    """The ranking metrics of a validation, as text."""
    return ", ".join(f"{name} {value:.4f}" for name, value in validation.items() if "@" in name)
