"""Stage `train`: preprocessed examples to trained towers."""

import json
import shutil
import time
from pathlib import Path

from pipelines.stages.context import StageContext
from pipelines.stages.parents import open_parent
from tfrs_twotower.artifacts import Manifest, commit, fingerprint, staging_directory
from tfrs_twotower.artifacts.layout import TRAINING_LOG
from tfrs_twotower.training.reports import StepReport
from tfrs_twotower.training.train import train

_GUARD = "resumable.json"
_REPORT_EVERY_S = 0.2


def config_fingerprint(context: StageContext) -> str:
    """Hash of the config sections that training reads."""
    config = context.config
    return fingerprint(
        {
            "seed": config.seed,
            "model": config.model.model_dump(mode="json"),
            "training": config.training.model_dump(mode="json"),
        }
    )


def run(context: StageContext) -> Manifest:
    """Trains both towers; continues where a killed run of the same inputs stopped.

    Raises:
        TrainingError: training diverged, or cannot start.
        ArtifactError: the preprocessed artifact is missing, damaged or outdated.
    """
    parent = open_parent(context, "preprocessed")
    origin = {
        "spec": fingerprint(context.spec),
        "config": config_fingerprint(context),
        "preprocessed": parent.fingerprint,
    }
    staging, resumed = _open_staging(context.layout.model, origin)
    if resumed:
        context.reporter.message("Continuing a training that was interrupted.")
    result = train(
        context.spec,
        context.config,
        context.layout.preprocessed,
        staging,
        _Progress(context),
        checkpoint_root=context.data_root,
    )
    (staging / _GUARD).unlink()
    metrics = ", ".join(f"{k} {v:.4f}" for k, v in result.validation.items() if "@" in k)
    context.reporter.message(
        f"Kept the weights of step {result.best_step} (epoch {result.best_epoch:.1f})"
        + (f": {metrics}" if metrics else "")
        + (f"; trained again for {result.steps} steps with validation" if result.refitted else "")
    )
    return commit(
        staging,
        context.layout.model,
        kind="model",
        spec_fingerprint=origin["spec"],
        config_fingerprint=origin["config"],
        parents={"preprocessed": parent.fingerprint},
        counts={
            "train_examples": result.num_examples,
            "steps": result.steps,
            "batch_size": result.batch_size,
        },
        measurements=(TRAINING_LOG,),
        details={
            "best_step": result.best_step,
            "best_epoch": round(result.best_epoch, 4),
            "refitted": result.refitted,
            "validation": result.validation,
            "temperature": result.temperature,
            "seconds": round(result.seconds, 3),
            "examples_per_s": round(result.examples_per_s, 1),
            "messages": list(result.messages),
        },
    )


def _open_staging(destination: Path, origin: dict[str, str]) -> tuple[Path, bool]:
    """A staging directory, with an earlier run's checkpoints only if they have the same origin."""
    staging = staging_directory(destination, keep=True)
    guard = staging / _GUARD
    try:
        resumable = json.loads(guard.read_text(encoding="utf-8")) == origin
    except (OSError, ValueError):
        resumable = False
    if resumable:
        return staging, True
    shutil.rmtree(staging)
    staging.mkdir()
    partial = guard.with_name(f".{_GUARD}.partial")
    partial.write_text(json.dumps(origin) + "\n", encoding="utf-8")
    partial.replace(guard)
    return staging, False


class _Progress:
    """Passes reports on, a few a second."""

    def __init__(self, context: StageContext) -> None:
        self._reporter = context.reporter
        self._last = 0.0

    def __call__(self, report: StepReport) -> None:
        if report.message:
            self._reporter.message(report.message)
            return
        if report.validation is not None:
            metrics = ", ".join(f"{k} {v:.4f}" for k, v in report.validation.items() if "@" in k)
            self._reporter.message(f"epoch {report.epoch:.1f}: {metrics}")
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
