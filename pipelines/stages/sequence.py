"""The sequence of the stages, and which of them have to run.

A stage is skipped if its artifact is there and was made from the same spec, settings and parents.
The stages of the pre-ranker are part of a run only if its config has a `pre_ranking` section.
"""

import functools
import importlib
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines.imports import without_collector
from pipelines.stages import later_needs, processes, up_to_date
from pipelines.stages.context import StageContext, only_run_in, read_counters, record_duration
from pipelines.stages.run_events import StageEvent, State, tell
from tfrs_twotower.artifacts import Manifest
from tfrs_twotower.artifacts.manifest import Kind
from tfrs_twotower.config import RunConfig, pre_ranking_of, searches_words
from tfrs_twotower.errors import ConfigError, as_system_failure


@dataclass(frozen=True)
class Stage:
    """A step of a run, which writes one artifact."""

    name: str
    """Name on the command line."""
    module: str
    """Module with `run(context)`; imported to run it."""
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
        if self.module in sys.modules:
            return sys.modules[self.module]
        # Beam logs through the root logger which optional cloud clients are missing.
        before = logging.root.manager.disable
        logging.disable(max(before, logging.WARNING))
        try:
            with without_collector():
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
    """Of its artifact; empty in a process that only helped to train."""
    directory: Path
    counts: Mapping[str, int] = field(default_factory=dict)
    """Counts of the artifact's manifest."""


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
        ConfigError: the first or the last stage is not part of the run, or Beam would not take its
            options.
        WorkdirError: another run holds the working directory.
        WorkerLost: another process of a training has ended.
        TwoTowerError: a stage failed; earlier artifacts stay.
    """
    stages = part_of_run(stages, context.config)
    if not processes.join_cluster(context, stages):
        directory = context.layout.of(stages[0].kind)
        seconds = processes.help_to_train(context)
        return [StageOutcome(stages[0].name, False, seconds, "", directory)]
    with only_run_in(context.layout.root):
        return _run_stages(context, stages, force=force)


def _prepare(context: StageContext, stages: Sequence[Stage]) -> None:
    """Checks what can be checked before the first stage that runs."""
    processes.prepare(context, stages)
    if any(stage.kind in ("preprocessed", "model", "negatives", "pre_ranker") for stage in stages):
        later_needs.check_checkpoints(context)
    if any(stage.kind == "index" for stage in stages):
        later_needs.check_packages(context.config)
    if any(stage.kind == "bundle" for stage in stages):
        later_needs.check_operations(context.config)


def all_up_to_date(context: StageContext, stages: Sequence[Stage]) -> bool:
    """Whether `run_stages` would skip all of the stages."""
    return all(
        not up_to_date.check(context, stage.kind).reason
        for stage in part_of_run(stages, context.config)
    )


def _run_stages(
    context: StageContext, stages: Sequence[Stage], *, force: bool
) -> list[StageOutcome]:
    outcomes: list[StageOutcome] = []
    prepare = functools.cache(lambda: _prepare(context, stages))
    names = [stage.name for stage in stages]
    check_data = functools.cache(lambda: later_needs.check_data(context, names))
    for position, stage in enumerate(stages, 1):
        title = f"[{position}/{len(stages)}] {stage.name}"
        say = functools.partial(_tell, context, stage, position, len(stages))
        no_report = later_needs.check_data(context, ()) if stage.kind == "report" else ""
        if no_report and len(stages) > 1:
            context.reporter.message(f"{title} is left out: {no_report}")
            say("left out", reason=no_report)
            break
        found = up_to_date.check(context, stage.kind)
        started = time.monotonic()
        if force or found.reason or found.manifest is None:
            if found.is_damage:
                context.reporter.message(f"{found.reason}, so {stage.name} runs again")
            stage.load()  # without the extra, that is what is said
            prepare()
            if stage.kind != "preprocessed":
                check_data()
            context.reporter.message(title)
            say("started", reason=found.reason)
            try:
                manifest = _run_stage(context, stage)
            except BaseException as failure:
                say("failed", seconds=time.monotonic() - started, reason=str(failure))
                raise
            seconds = time.monotonic() - started
            record_duration(context.layout.root, stage.name, seconds)
            context.reporter.message(f"{title} done in {seconds:.1f} s")
            say("finished", manifest, seconds=seconds)
        else:
            manifest, seconds = found.manifest, 0.0
            context.reporter.message(f"{title} is up to date, skipped")
            say("skipped", manifest)
        outcomes.append(
            StageOutcome(
                stage.name,
                manifest is found.manifest,
                seconds,
                manifest.fingerprint,
                context.layout.of(stage.kind),
                manifest.counts,
            )
        )
    return outcomes


def _tell(
    context: StageContext,
    stage: Stage,
    position: int,
    of: int,
    state: State,
    manifest: Manifest | None = None,
    **more: Any,
) -> None:
    if manifest is not None:
        counters = read_counters(context.layout.root).get(stage.name, {})
        more |= {"counts": manifest.counts, "counters": counters}
        more["fingerprint"] = manifest.fingerprint
    event = StageEvent(context.config.name, stage.name, state, position, of, **more)
    tell(context.listeners, event)


def _run_stage(context: StageContext, stage: Stage) -> Manifest:
    module = stage.load()
    try:
        manifest: Manifest = module.run(context)
    except Exception as error:
        failure = as_system_failure(error, str(context.layout.of(stage.kind)))
        if failure is None:
            raise
        raise failure from error
    return manifest
