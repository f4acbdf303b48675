"""One seed of one run: its working directory, artifacts that it reuses, a process of its own.

ScaNN does not free its memory, and deterministic ops are a switch of the whole process. Therefore
every seed runs in a new process, with the command that a user would run.
"""

import os
import shlex
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipelines.comparing.planned_runs import PlannedRun
from pipelines.progress import SilentReporter
from pipelines.stages import up_to_date
from pipelines.stages.context import StageContext, read_durations, record_duration
from pipelines.stages.sequence import Stage, all_up_to_date, part_of_run, stages_for
from tfrs_twotower import artifacts
from tfrs_twotower.config import data_root, load_run_config, spec_path
from tfrs_twotower.environment import own_python, run_module
from tfrs_twotower.specs import load_spec

CONFIG_NAME = "run.yaml"
_LAST_LINES = 8
_TARGET = "evaluate"


@dataclass(frozen=True)
class SeedRun:
    """One seed of one run.

    Attributes:
        run: the planned run.
        seed: its seed.
        directory: directory of the run, which holds its seeds.
    """

    run: PlannedRun
    seed: int
    directory: Path

    @property
    def workdir(self) -> Path:
        """An ordinary working directory of `twotower run`."""
        return self.directory / f"seed-{self.seed}"

    @property
    def config_path(self) -> Path:
        """The run's settings, as `write_config` writes them."""
        return self.directory / CONFIG_NAME

    @property
    def overrides(self) -> tuple[str, ...]:
        """Settings that only this seed has."""
        baselines = self.run.baselines(self.seed)
        if baselines is None:
            return (f"seed={self.seed}",)
        return (f"seed={self.seed}", f"evaluate.baselines=[{', '.join(baselines)}]")

    @property
    def arguments(self) -> list[str]:
        """Arguments of `twotower` that repeat only this seed."""
        options = [part for override in self.overrides for part in ("--set", override)]
        target = ["--workdir", str(self.workdir), "--for", _TARGET]
        return ["run", str(self.config_path), *target, *options]

    @property
    def command(self) -> str:
        """The whole command, as a line for a shell."""
        return shlex.join(["twotower", *self.arguments])

    @property
    def context(self) -> StageContext:
        """The context that its stages get."""
        config = load_run_config(self.config_path, self.overrides)
        return StageContext(
            layout=artifacts.Layout(self.workdir),
            spec=load_spec(spec_path(config, self.config_path)),
            config=config,
            data_root=data_root(config, self.config_path),
            reporter=SilentReporter(),
        )

    def write_config(self) -> None:
        """Writes the run's settings, with absolute paths, as a run config."""
        self.directory.mkdir(parents=True, exist_ok=True)
        settings = self.run.config.model_dump(mode="json", exclude_unset=True)
        partial = self.directory / f".{CONFIG_NAME}.partial"
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.config_path)

    def is_finished(self) -> bool:
        """Whether a run of the seed would skip every stage.

        This process checks it, because a new process takes seconds to start.
        """
        if not (artifacts.Layout(self.workdir).report / artifacts.MANIFEST_NAME).exists():
            return False
        return all_up_to_date(self.context, stages_for(_TARGET))


@dataclass(frozen=True)
class ProcessExit:
    """The end of a seed's process: its exit code (negative: a signal) and its last lines."""

    code: int
    last_lines: tuple[str, ...]

    @property
    def in_words(self) -> str:
        """Such as `exit code 1` or `killed by SIGKILL`."""
        if self.code >= 0:
            return f"exit code {self.code}"
        reason = " (was the memory full?)" if -self.code == signal.SIGKILL else ""
        return f"killed by {signal.Signals(-self.code).name}{reason}"


def execute(seed_run: SeedRun, listen: Callable[[str], None]) -> ProcessExit:
    """Runs the seed to its end; stages that are up to date in its working directory are skipped.

    Args:
        seed_run: the seed.
        listen: receives each line that the process prints, as soon as it prints it.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(  # noqa: S603  (this program)
        own_python(run_module("pipelines"), *seed_run.arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            for line in process.stdout or ():
                if line.strip():
                    last.append(line.rstrip())
                    listen(line.strip())
        except BaseException:
            process.terminate()
            raise
    return ProcessExit(process.returncode, tuple(last))


def reuse_from(seed_run: SeedRun, others: Iterable[Path]) -> None:
    """Reuses artifacts of other working directories that this seed would compute identically.

    The report is never reused: that of another run may lack this run's baselines.
    """
    context = seed_run.context
    stages = part_of_run(stages_for(_TARGET), context.config)
    reuse_artifacts(context, stages[:-1], others)


def reuse_artifacts(
    context: StageContext, stages: Iterable[Stage], others: Iterable[Path]
) -> list[str]:
    """Gives a run the artifacts of other working directories that fit it.

    The files are hard links (copies if the file system has no hard links), because stages never
    write into a finished artifact. An artifact fits if `run` would skip its stage: it has the same
    spec, settings and parents. Equal runs write equal artifacts, so the result is the same as if
    the run had computed them.

    Args:
        context: context of the run.
        stages: stages of the run, in order.
        others: working directories of runs on the same tables.

    Returns:
        Names of the stages whose artifact is reused.
    """
    directories = list(others)
    root = context.layout.root
    reused = []
    for stage in stages:
        destination = root / stage.kind
        if (destination / artifacts.MANIFEST_NAME).exists():
            continue
        for other in directories:
            source = other / stage.kind
            if other == root or not (source / artifacts.MANIFEST_NAME).exists():
                continue
            if up_to_date.check(context, stage.kind, source).reason:
                continue
            staging = artifacts.staging_directory(destination)
            shutil.copytree(
                source, staging, copy_function=artifacts.link_or_copy, dirs_exist_ok=True
            )
            artifacts.replace_directory(staging, destination)
            seconds = read_durations(other).get(stage.name)
            if seconds is not None:
                record_duration(root, stage.name, seconds)
            reused.append(stage.name)
            break
        else:
            # Later stages have other parents than any artifact of another run.
            break
    return reused
