"""The sequence of the stages, and which of them have to run.

A stage is skipped if its artifact is there and was made from the same spec, settings and parents.
The stages of the pre-ranker are part of a run only if its config has a `pre_ranking` section.
"""

import importlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from pipelines.stages import later_needs
from pipelines.stages.context import StageContext, only_run_in, record_duration
from tfrs_twotower.artifacts import Manifest, fingerprint, read_manifest, verify_files
from tfrs_twotower.artifacts.manifest import Kind
from tfrs_twotower.config import FittingConfig, RunConfig, pre_ranking_of, searches_words
from tfrs_twotower.errors import (
    ArtifactError,
    ConfigError,
    CorruptArtifact,
    as_system_failure,
)


@dataclass(frozen=True)
class Stage:
    """A step of a run, which writes one artifact."""

    name: str
    """Name on the command line."""
    module: str
    """Module with `run(context)` and `config_fingerprint(context)`; imported to run it."""
    kind: Kind
    """Kind of the artifact that it writes, and name of its directory."""
    needs: tuple[Kind, ...] = ()
    """Artifacts that it needs, as far as they are part of the run; see also `_RETRIEVED`."""
    words: bool = False
    """Whether it is part of a run only if the first stage searches words."""
    pre_ranking: bool = False
    """Whether it is part of a run only with a pre-ranker."""
    trained_members: bool = False
    """Whether it is part of a run only with trained members of the pre-ranker."""

    def load(self) -> ModuleType:
        """Imports the stage, and with it TensorFlow and Beam."""
        # Beam logs through the root logger which optional cloud clients are missing.
        before = logging.root.manager.disable
        logging.disable(max(before, logging.WARNING))
        try:
            return importlib.import_module(self.module)
        finally:
            logging.disable(before)


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
_RETRIEVED: set[Kind] = {"negatives", "pre_ranker", "report"}
"""What is made from lists of the first stage: exact search of vectors needs no index, words do."""
STAGE_NAMES = tuple(stage.name for stage in STAGES)


@dataclass(frozen=True)
class StageOutcome:
    """The result of one stage in a run."""

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
    """The stage `target` and the stages whose artifacts it needs, in order."""
    needed = _with_needs({STAGES[STAGE_NAMES.index(target)].kind})
    also = _with_needs({*needed, "index"}) if needed & _RETRIEVED else needed
    return tuple(
        stage if stage.kind in needed else replace(stage, words=True)
        for stage in STAGES
        if stage.kind in also
    )


def _with_needs(kinds: set[Kind]) -> set[Kind]:
    """These artifacts and all that they are made from."""
    found = set(kinds)
    for stage in reversed(STAGES):
        if stage.kind in found:
            found.update(stage.needs)
    return found


def part_of_run(stages: Sequence[Stage], config: RunConfig) -> tuple[Stage, ...]:
    """The stages that are part of a run with this config.

    Raises:
        ConfigError: the first or the last stage, which the user named, is not part of the run.
    """
    for stage in (stages[0], stages[-1]):
        if stage.pre_ranking:
            pre_ranking = pre_ranking_of(config)
            if stage.trained_members and not pre_ranking.models:
                raise ConfigError(
                    f"run '{config.name}': pre_ranking.models is empty, so no member would learn "
                    f"from the output of {stage.name}; name a model, or leave the stage out"
                )
    return tuple(stage for stage in stages if _is_part(stage, config))


def _is_part(stage: Stage, config: RunConfig) -> bool:
    if stage.words and not searches_words(config):
        return False
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
        stages: some of `STAGES`, in order; those that are not part of the run are left out.
        force: whether to run stages that are up to date.

    Raises:
        ConfigError: the first or the last stage is not part of the run.
        WorkdirError: another run holds the working directory.
        TwoTowerError: a stage failed; earlier artifacts stay.
    """
    stages = part_of_run(stages, context.config)
    with only_run_in(context.layout.root):
        _reserve_devices(context.config, stages)
        if any(stage.kind in ("preprocessed", "model", "pre_ranker") for stage in stages):
            later_needs.check_checkpoints(context)
        return _run_stages(context, stages, force=force)


def _reserve_devices(config: RunConfig, stages: Sequence[Stage]) -> None:
    """Reserves what replicas train on before another stage of this process uses TensorFlow."""
    fittings: dict[Kind, FittingConfig | None] = {
        "model": config.training,
        "pre_ranker": config.pre_ranking,
    }
    trained = [fittings.get(stage.kind) for stage in stages]
    most = max((fitting.replicas for fitting in trained if fitting is not None), default=1)
    if most > 1:
        from tfrs_twotower.training.replicas import reserve_devices

        reserve_devices(most)


def all_up_to_date(context: StageContext, stages: Sequence[Stage]) -> bool:
    """Whether `run_stages` would skip all of the stages."""
    return all(
        _up_to_date(context, stage, stage.load()) is not None
        for stage in part_of_run(stages, context.config)
    )


def _run_stages(
    context: StageContext, stages: Sequence[Stage], *, force: bool
) -> list[StageOutcome]:
    outcomes: list[StageOutcome] = []
    needs_are_checked = False
    for position, stage in enumerate(stages, 1):
        title = f"[{position}/{len(stages)}] {stage.name}"
        module = stage.load()
        if position == 1 and any(later.kind == "index" for later in stages):
            later_needs.check_packages(context.config)
        if stage.kind != "preprocessed" and not needs_are_checked:
            no_report = later_needs.check_data(context, [later.name for later in stages])
            needs_are_checked = True
        if stage.kind == "report" and no_report and len(stages) > 1:
            context.reporter.message(f"{title} is left out: {no_report}")
            break
        current = None if force else _up_to_date(context, stage, module)
        started = time.monotonic()
        if current is None:
            context.reporter.message(title)
            manifest = _run_stage(context, stage, module)
            seconds = time.monotonic() - started
            record_duration(context.layout.root, stage.name, seconds)
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
                context.layout.of(stage.kind),
            )
        )
    return outcomes


def _run_stage(context: StageContext, stage: Stage, module: ModuleType) -> Manifest:
    try:
        manifest: Manifest = module.run(context)
    except Exception as error:
        failure = as_system_failure(error, str(context.layout.of(stage.kind)))
        if failure is None:
            raise
        raise failure from error
    return manifest


def would_fit(context: StageContext, stage: Stage, directory: Path) -> bool:
    """Whether the artifact in any directory is the one that the stage would write in this run."""
    return _read_fitting(context, stage, stage.load(), directory) is not None


def _read_fitting(
    context: StageContext, stage: Stage, module: ModuleType, directory: Path
) -> Manifest | None:
    try:
        manifest = read_manifest(directory, stage.kind)
        parents = {
            kind: read_manifest(context.layout.of(kind), kind).fingerprint
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
    directory = context.layout.of(stage.kind)
    manifest = _read_fitting(context, stage, module, directory)
    if manifest is None:
        return None
    try:
        verify_files(directory, manifest, contents=False)
    except CorruptArtifact as damage:
        problem = str(damage).partition(". Run the stage")[0]
        context.reporter.message(f"{problem}, so {stage.name} runs again")
        return None
    return manifest
