"""The order of the stages, and which of them have to run.

A stage runs again when its artifact is missing, or was made from another spec, other settings or
other parents than those at hand; otherwise it is skipped.
"""

import importlib
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pipelines.stages import timings
from pipelines.stages.context import StageContext
from pipelines.stages.workdir import only_run_in
from tfrs_twotower.artifacts import Manifest, fingerprint, read_manifest, verify_files
from tfrs_twotower.artifacts.manifest import Kind
from tfrs_twotower.errors import ArtifactError, ConfigError, CorruptArtifact


@dataclass(frozen=True)
class Stage:
    """One step of a run."""

    name: str
    """As on the command line."""
    module: str
    """Module with `run(context)` and `config_fingerprint(context)`; imported when it is needed."""
    kind: Kind
    """Kind, and directory, of the artifact that it writes."""

    def load(self) -> ModuleType:
        """Imports the stage; this is where TensorFlow and Beam come in."""
        with _quiet_imports():
            return importlib.import_module(self.module)


STAGES = (
    Stage("preprocess", "pipelines.stages.preprocess", "preprocessed"),
    Stage("train", "pipelines.stages.train", "model"),
    Stage("embed", "pipelines.stages.embed", "embeddings"),
    Stage("build-index", "pipelines.stages.build_index", "index"),
    Stage("export", "pipelines.stages.export", "bundle"),
    Stage("evaluate", "pipelines.stages.evaluate", "report"),
)
STAGE_NAMES = tuple(stage.name for stage in STAGES)


@dataclass(frozen=True)
class StageOutcome:
    """What became of one stage."""

    name: str
    skipped: bool
    seconds: float
    fingerprint: str
    directory: Path


def select_stages(first: str | None, last: str | None) -> tuple[Stage, ...]:
    """The stages from `first` to `last`, both included.

    Raises:
        ConfigError: `first` comes after `last`.
    """
    start = STAGE_NAMES.index(first) if first else 0
    end = STAGE_NAMES.index(last) if last else len(STAGES) - 1
    if start > end:
        raise ConfigError(
            f"--from {first} --to {last}: found '{first}' after '{last}'; the order is "
            f"{', '.join(STAGE_NAMES)}."
        )
    return STAGES[start : end + 1]


def run_stages(
    context: StageContext, stages: Sequence[Stage], *, force: bool = False
) -> list[StageOutcome]:
    """Runs stages in order, skipping those whose artifact is up to date.

    Args:
        context: the run.
        stages: some of `STAGES`, in order.
        force: run them even if nothing changed.

    Raises:
        WorkdirError: another run is at work in the same working directory.
        TwoTowerError: whatever stopped a stage; earlier artifacts stay.
    """
    with only_run_in(context.layout.root):
        return _run_stages(context, stages, force=force)


def _run_stages(
    context: StageContext, stages: Sequence[Stage], *, force: bool
) -> list[StageOutcome]:
    outcomes = []
    for position, stage in enumerate(stages, 1):
        title = f"[{position}/{len(stages)}] {stage.name}"
        module = stage.load()
        current = None if force else _up_to_date(context, stage, module)
        started = time.monotonic()
        if current is None:
            context.reporter.message(title)
            manifest: Manifest = module.run(context)
            seconds = time.monotonic() - started
            timings.record(context.layout.root, stage.name, seconds)
            context.reporter.message(f"{title} done in {seconds:.1f} s")
        else:
            manifest, seconds = current, 0.0
            context.reporter.message(f"{title} is up to date, skipped")
        outcomes.append(
            StageOutcome(
                stage.name,
                current is not None,
                seconds,
                manifest.fingerprint,
                context.layout.root / stage.kind,
            )
        )
    return outcomes


def _up_to_date(context: StageContext, stage: Stage, module: ModuleType) -> Manifest | None:
    directory = context.layout.root / stage.kind
    try:
        manifest = read_manifest(directory, stage.kind)
        parents = {
            kind: read_manifest(context.layout.root / kind, kind).fingerprint
            for kind in manifest.parents
        }
    except ArtifactError:
        return None
    fresh = (
        manifest.spec_fingerprint == fingerprint(context.spec)
        and manifest.parents == parents
        and manifest.config_fingerprint == module.config_fingerprint(context)
    )
    if not fresh:
        return None
    try:
        verify_files(directory, manifest, contents=False)
    except CorruptArtifact as damage:
        found = str(damage).partition(". Run the stage")[0]
        context.reporter.message(f"{found}, so {stage.name} runs again")
        return None
    return manifest


@contextmanager
def _quiet_imports() -> Iterator[None]:
    # Beam tells through the root logger which optional clouds it cannot find.
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)
