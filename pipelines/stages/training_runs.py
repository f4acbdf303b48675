"""What the two training stages have in common: resuming, progress, what the manifest says."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.stages.context import StageContext
from tfrs_twotower.artifacts import staging_directory
from tfrs_twotower.training.reports import StepReport, TrainingResult

_GUARD = "resumable.json"
_REPORT_EVERY_S = 0.2


@dataclass(frozen=True)
class TrainingStaging:
    """A directory in which a training is at work.

    Attributes:
        directory: where it writes.
    """

    directory: Path

    def close(self) -> None:
        """Says that the training is over: nothing is to be resumed any more."""
        (self.directory / _GUARD).unlink()


def open_training(
    context: StageContext, destination: Path, origin: dict[str, str]
) -> TrainingStaging:
    """A staging directory, with an earlier run's checkpoints only if they have the same origin.

    Args:
        context: is told if a training continues.
        destination: the artifact's directory.
        origin: fingerprints of everything that the training reads.
    """
    staging = staging_directory(destination, keep=True)
    guard = staging / _GUARD
    try:
        resumable = json.loads(guard.read_text(encoding="utf-8")) == origin
    except (OSError, ValueError):
        resumable = False
    if resumable:
        context.reporter.message("Continuing a training that was interrupted.")
        return TrainingStaging(staging)
    shutil.rmtree(staging)
    staging.mkdir()
    partial = guard.with_name(f".{_GUARD}.partial")
    partial.write_text(json.dumps(origin) + "\n", encoding="utf-8")
    partial.replace(guard)
    return TrainingStaging(staging)


def training_details(result: TrainingResult) -> dict[str, Any]:
    """The `counts` and `details` of the manifest."""
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
        },
    }


class TrainingProgress:
    """Passes reports on, a few a second."""

    def __init__(self, context: StageContext) -> None:
        self._reporter = context.reporter
        self._last = 0.0

    def __call__(self, report: StepReport) -> None:
        """Shows one report."""
        if report.message:
            self._reporter.message(report.message)
            return
        if report.validation is not None:
            self._reporter.message(f"epoch {report.epoch:.1f}: {metrics_of(report.validation)}")
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


def say_result(context: StageContext, result: TrainingResult) -> None:
    """Says which weights were kept, and how good they are."""
    metrics = metrics_of(result.validation)
    context.reporter.message(
        f"Kept the weights of step {result.best_step} (epoch {result.best_epoch:.1f})"
        + (f": {metrics}" if metrics else "")
        + (f"; trained again for {result.steps} steps with validation" if result.refitted else "")
    )


def metrics_of(validation: dict[str, float]) -> str:
    """The ranking metrics among what was measured, as words."""
    return ", ".join(f"{name} {value:.4f}" for name, value in validation.items() if "@" in name)
