"""One seed of one run, in a process of its own.

ScaNN does not give its memory back and the determinism of ops is a switch of the whole process, so
every seed starts afresh, with the command that a person would use.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipelines.comparing.plan import PlannedRun
from pipelines.comparing.sharing import share_artifacts
from pipelines.stages.context import SilentReporter, StageContext
from pipelines.stages.order import all_up_to_date, part_of_run, stages_for
from tfrs_twotower.artifacts import MANIFEST_NAME, Layout
from tfrs_twotower.config import data_root, load_run_config, spec_path
from tfrs_twotower.specs import load_spec

_LAST_LINES = 8
CONFIG_NAME = "run.yaml"
_TARGET = "evaluate"


@dataclass(frozen=True)
class Cell:
    """One seed of one run.

    Attributes:
        run: what is run.
        seed: the run's seed.
        directory: of the run; its seeds lie in it.
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
        """What is special about the seed."""
        baselines = self.run.baselines(self.seed)
        if baselines is None:
            return (f"seed={self.seed}",)
        return (f"seed={self.seed}", f"evaluate.baselines=[{', '.join(baselines)}]")

    @property
    def arguments(self) -> list[str]:
        """Of `twotower`: repeats this seed alone."""
        found = ["run", str(self.config_path), "--workdir", str(self.workdir), "--for", _TARGET]
        return [*found, *(part for override in self.overrides for part in ("--set", override))]

    @property
    def command(self) -> str:
        """The same, to be pasted."""
        return shlex.join(["twotower", *self.arguments])


@dataclass(frozen=True)
class Ending:
    """How a cell's process ended: its exit code (negative: a signal) and the last lines it said."""

    code: int
    last_lines: tuple[str, ...]

    @property
    def in_words(self) -> str:
        """`exit code 1`, `killed by SIGKILL`."""
        if self.code >= 0:
            return f"exit code {self.code}"
        reason = " (was the memory full?)" if -self.code == signal.SIGKILL else ""
        return f"killed by {signal.Signals(-self.code).name}{reason}"


def write_config(cell: Cell) -> None:
    """Writes the run's settings, with absolute paths, as a run config."""
    cell.directory.mkdir(parents=True, exist_ok=True)
    settings = cell.run.config.model_dump(mode="json", exclude_unset=True)
    partial = cell.directory / f".{CONFIG_NAME}.partial"
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    partial.write_text(text, encoding="utf-8")
    partial.replace(cell.config_path)


def is_finished(cell: Cell) -> bool:
    """Whether a run of the cell would skip every stage.

    It is asked here and not in a process of its own, which takes seconds to start.
    """
    if not (Layout(cell.workdir).report / MANIFEST_NAME).exists():
        return False
    return all_up_to_date(context_of(cell), stages_for(_TARGET))


def share(cell: Cell, others: Iterable[Path]) -> None:
    """Takes over from other working directories what the cell would compute just so.

    All but the report: that of another run may lack this run's baselines.
    """
    context = context_of(cell)
    stages = part_of_run(stages_for(_TARGET), context.config)
    share_artifacts(context, stages[:-1], others)


def context_of(cell: Cell) -> StageContext:
    """What the stages of the cell are given."""
    config = load_run_config(cell.config_path, cell.overrides)
    return StageContext(
        layout=Layout(cell.workdir),
        spec=load_spec(spec_path(config, cell.config_path)),
        config=config,
        data_root=data_root(config, cell.config_path),
        reporter=SilentReporter(),
    )


def execute(cell: Cell, listen: Callable[[str], None]) -> Ending:
    """Runs the cell to its end; what is up to date in its working directory is skipped.

    Args:
        cell: what to run.
        listen: told each line that the process says, as soon as it says it.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(  # noqa: S603  (this very program)
        [sys.executable, "-m", "pipelines", *cell.arguments],
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
    return Ending(process.returncode, tuple(last))
