"""The order of the stages, and which of them have to run.

A stage runs again when its artifact is missing, or was made from another spec, other settings or
other parents than those at hand; otherwise it is skipped. The stages of the pre-ranker are part of
a run only where its config has a `pre_ranking` section.
"""

import importlib
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pipelines.stages import workdir as timings
from pipelines.stages.context import StageContext
from pipelines.stages.workdir import only_run_in
from tfrs_twotower.artifacts import Manifest, fingerprint, read_manifest, verify_files
from tfrs_twotower.artifacts.manifest import Kind
from tfrs_twotower.config import RunConfig, pre_ranking_of
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
    needs: tuple[Kind, ...] = ()
    """Artifacts that it cannot do without (evaluate also reads an index, if there is one); those
    that are no part of a run are not needed in it."""
    pre_ranking: bool = False
    """Whether it is part of a run only if the run has a pre-ranker."""
    trained_members: bool = False
    """Whether it is part of a run only if the pre-ranker has members that are trained."""

    def load(self) -> ModuleType:
        """Imports the stage; this is where TensorFlow and Beam come in."""
        with _quiet_imports():
            return importlib.import_module(self.module)


STAGES = (
    Stage("preprocess", "pipelines.stages.preprocess", "preprocessed"),
    Stage("train", "pipelines.stages.train", "model", ("preprocessed",)),
    Stage("embed", "pipelines.stages.embed", "embeddings", ("preprocessed", "model")),
    Stage("build-index", "pipelines.stages.build_index", "index", ("embeddings",)),
    Stage(
        "mine",
        "pipelines.stages.mine",
        "negatives",
        ("preprocessed", "model"),
        pre_ranking=True,
        trained_members=True,
    ),
    Stage(
        "train-pre-ranker",
        "pipelines.stages.train_pre_ranker",
        "pre_ranker",
        ("preprocessed", "model", "negatives"),
        pre_ranking=True,
    ),
    Stage(
        "export",
        "pipelines.stages.export",
        "bundle",
        ("model", "embeddings", "index", "pre_ranker"),
    ),
    Stage(
        "evaluate",
        "pipelines.stages.evaluate",
        "report",
        ("preprocessed", "embeddings", "pre_ranker"),
    ),
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


def stages_for(target: str) -> tuple[Stage, ...]:
    """The stage `target` and those whose artifacts it cannot do without, in order."""
    wanted = next(stage for stage in STAGES if stage.name == target)
    needed = {wanted.kind}
    for stage in reversed(STAGES[: STAGES.index(wanted) + 1]):
        if stage.kind in needed:
            needed.update(stage.needs)
    return tuple(stage for stage in STAGES if stage.kind in needed)


def part_of_run(stages: Sequence[Stage], config: RunConfig) -> tuple[Stage, ...]:
    """The stages without those that this run has no use for.

    Raises:
        ConfigError: the first or the last one is such a stage; somebody asked for it by name.
    """
    for stage in (stages[0], stages[-1]):
        if stage.pre_ranking:
            pre_ranking = pre_ranking_of(config)
            if stage.trained_members and not pre_ranking.models:
                raise ConfigError(
                    f"run '{config.name}': pre_ranking.models is empty, so nothing would learn "
                    f"from what {stage.name} writes; name a model, or leave the stage out"
                )
    return tuple(stage for stage in stages if _is_part(stage, config))


def _is_part(stage: Stage, config: RunConfig) -> bool:
    if not stage.pre_ranking:
        return True
    if config.pre_ranking is None:
        return False
    return bool(config.pre_ranking.models) or not stage.trained_members


def run_stages(
    context: StageContext, stages: Sequence[Stage], *, force: bool = False
) -> list[StageOutcome]:
    """Runs stages in order, skipping those whose artifact is up to date.

    Args:
        context: the run.
        stages: some of `STAGES`, in order; those that are no part of the run are left out.
        force: run them even if nothing changed.

    Raises:
        ConfigError: a stage that is no part of the run stands at either end.
        WorkdirError: another run is at work in the same working directory.
        TwoTowerError: whatever stopped a stage; earlier artifacts stay.
    """
    stages = part_of_run(stages, context.config)
    with only_run_in(context.layout.root):
        return _run_stages(context, stages, force=force)


def all_up_to_date(context: StageContext, stages: Sequence[Stage]) -> bool:
    """Whether `run_stages` would skip every one of the stages."""
    wanted = part_of_run(stages, context.config)
    return all(_up_to_date(context, stage, stage.load()) is not None for stage in wanted)


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


def would_fit(context: StageContext, stage: Stage, directory: Path) -> bool:
    """Whether an artifact, wherever it lies, is what the stage would write in this run now."""
    return _fitting(context, stage, stage.load(), directory) is not None


def _fitting(
    context: StageContext, stage: Stage, module: ModuleType, directory: Path
) -> Manifest | None:
    try:
        manifest = read_manifest(directory, stage.kind)
        parents = {
            kind: read_manifest(context.layout.root / kind, kind).fingerprint
            for kind in manifest.parents
        }
    except ArtifactError:
        return None
    fits = (
        manifest.spec_fingerprint == fingerprint(context.spec)
        and manifest.parents == parents
        and manifest.config_fingerprint == module.config_fingerprint(context)
    )
    return manifest if fits else None


def _up_to_date(context: StageContext, stage: Stage, module: ModuleType) -> Manifest | None:
    directory = context.layout.root / stage.kind
    manifest = _fitting(context, stage, module, directory)
    if manifest is None:
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
