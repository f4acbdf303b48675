"""Runs every seed of every run, one after the other, and writes their comparison.

A seed whose artifacts are up to date is not run again, so a comparison that was killed goes on
where it stopped, and one that grows (more runs, more seeds) computes what is new.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipelines.comparing.executing import Cell, Ending, execute, is_finished, share, write_config
from pipelines.comparing.plan import PlannedRun
from pipelines.comparing.results import compare_cells, write_comparison
from pipelines.stages.context import Reporter
from pipelines.stages.workdir import only_run_in, wait_until_free
from tfrs_twotower.errors import ComparisonError, UnsupportedEnvironment
from tfrs_twotower.evaluation.wording import duration

_ENVIRONMENT_IS_WRONG = 2


def compare(
    runs: Sequence[PlannedRun], num_seeds: int, root: Path, reporter: Reporter
) -> dict[str, Any]:
    """Trains each run with the seeds 0 .. num_seeds - 1 and writes the comparison into `root`.

    A seed that fails ends its run; the others go on, and all failures are reported together.

    Returns:
        The content of `comparison.json`.

    Raises:
        ComparisonError: some runs failed; the finished seeds stay, no comparison is written.
        UnsupportedEnvironment: a seed could not run here at all; nothing more is tried.
        WorkdirError: another comparison is at work in the same directory.
    """
    cells = [Cell(run, seed, root / "runs" / run.name) for run in runs for seed in range(num_seeds)]
    with only_run_in(root):
        failures = _run_all(cells, reporter)
        if failures:
            raise ComparisonError(
                "\n".join(
                    [
                        *failures,
                        "No comparison was written. Correct what is wrong, or leave the run out, "
                        "and say the same again: finished seeds are not trained again.",
                    ]
                )
            )
        document = compare_cells(cells, root)
        write_comparison(document, root)
    return document


def _run_all(cells: list[Cell], reporter: Reporter) -> list[str]:
    failed: dict[str, str] = {}
    clock = _Clock(len(cells))
    for position, cell in enumerate(cells, 1):
        title = f"[{position}/{len(cells)}] {cell.run.name}, seed {cell.seed}"
        if cell.run.name in failed:
            clock.skip()
            continue
        _prepare(cell, cells, reporter)
        if is_finished(cell):
            clock.skip()
            reporter.message(f"{title}: up to date")
            continue
        started = time.monotonic()
        ending = execute(cell, _listener(reporter, title, position - 1, len(cells)))
        if ending.code == 0:
            reporter.message(f"{title}: done in {clock.finish(time.monotonic() - started)}")
            continue
        clock.skip()
        failure = explain(cell, ending)
        if ending.code == _ENVIRONMENT_IS_WRONG:
            raise UnsupportedEnvironment(failure)
        failed[cell.run.name] = failure
        reporter.message(f"{title}: {ending.in_words}; the other runs go on")
    return list(failed.values())


def _prepare(cell: Cell, cells: list[Cell], reporter: Reporter) -> None:
    write_config(cell)
    cell.workdir.mkdir(exist_ok=True)
    wait_until_free(cell.workdir, reporter)
    same_data = (other.workdir for other in cells if other.run.data == cell.run.data)
    share(cell, same_data)


def _listener(reporter: Reporter, title: str, done: float, total: float) -> Callable[[str], None]:
    reporter.progress(title, done, total)
    return lambda line: reporter.progress(title, done, total, line)


def explain(cell: Cell, ending: Ending) -> str:
    """Which seed of which run failed, the last that it said, and how to repeat it alone."""
    said = "".join(f"\n  {line}" for line in ending.last_lines)
    return (
        f"run {cell.run.name}, seed {cell.seed}: {ending.in_words}. It said last:{said}\n"
        f"To repeat it alone: {cell.command}"
    )


class _Clock:
    """Foretells from the seeds that had something to do how long the rest will take."""

    def __init__(self, num_cells: int) -> None:
        self._left = num_cells
        self._seconds: list[float] = []

    def skip(self) -> None:
        """A seed cost nothing."""
        self._left -= 1

    def finish(self, seconds: float) -> str:
        """A seed took so long: that in words, and how long the rest may take."""
        self._left -= 1
        self._seconds.append(seconds)
        if not self._left:
            return duration(seconds)
        recent = self._seconds[-10:]
        left = self._left * sum(recent) / len(recent)
        return f"{duration(seconds)}, about {duration(left)} left"
