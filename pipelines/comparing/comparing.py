"""Runs every seed of every run, one after the other, and writes their comparison.

A seed whose artifacts are up to date is not run again. A comparison that was killed therefore goes
on where it stopped, and one that grows (more runs, more seeds) computes only the new seeds.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from pipelines.comparing.planned_runs import PlannedRun
from pipelines.comparing.seed_runs import CONFIG_NAME, ProcessExit, SeedRun, execute, reuse_from
from pipelines.progress import Reporter
from pipelines.stages.context import only_run_in, read_durations, wait_until_free
from tfrs_twotower import artifacts
from tfrs_twotower.artifacts import Layout
from tfrs_twotower.artifacts.layout import REPORT_PAGE
from tfrs_twotower.errors import ComparisonError, UnsupportedEnvironment
from tfrs_twotower.evaluation.comparison import (
    comparing_runs,
    comparison_document,
    comparison_page,
    comparison_tables,
)
from tfrs_twotower.evaluation.report import rendering, report_files
from tfrs_twotower.evaluation.written_documents import write_json

DOCUMENT, MARKDOWN, PAGE = "comparison.json", "comparison.md", "index.html"
_ENVIRONMENT_IS_WRONG = 2


def compare(
    runs: Sequence[PlannedRun],
    num_seeds: int,
    root: Path,
    reporter: Reporter,
    command: str = "",
) -> comparison_document.ComparisonDocument:
    """Trains each run with the seeds 0 .. num_seeds - 1 and writes the comparison into `root`.

    A seed that fails ends its run; the others go on, and all failures are reported together.

    Args:
        runs: the runs, the reference first.
        num_seeds: number of seeds of each run.
        root: where the comparison and the working directories of the seeds lie.
        reporter: receives messages and progress.
        command: the command, as a line for a shell; the page shows it.

    Raises:
        ComparisonError: some runs failed; the finished seeds stay, no comparison is written.
        UnsupportedEnvironment: a seed cannot run in this environment; no other seed is tried.
        WorkdirError: another comparison runs in the same directory.
    """
    seed_runs = [
        SeedRun(run, seed, root / "runs" / run.name) for run in runs for seed in range(num_seeds)
    ]
    with only_run_in(root):
        failures = _run_all(seed_runs, reporter)
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
        document = compare_seed_runs(seed_runs, root)
        reports: dict[str, list[int]] = {}
        for seed_run in seed_runs:
            if link_back(Layout(seed_run.workdir).report, root):
                reports.setdefault(seed_run.run.name, []).append(seed_run.seed)
        written = {run.name: str(root / "runs" / run.name / CONFIG_NAME) for run in runs}
        write_comparison(document, root, rendering.Origin(command, written, time.time()), reports)
    return document


def link_back(report: Path, root: Path) -> bool:
    """Gives the page of a seed's report a link to the comparison; False where there is no report.

    The manifest holds the page's checksum, so the artifact is written again, whole.
    """
    page = report / REPORT_PAGE
    if not page.exists():
        return False
    text = page.read_text(encoding="utf-8")
    address = quote(os.path.relpath(root / PAGE, report))
    linked = rendering.with_link(text, address, "The comparison that this seed belongs to")
    if linked != text:
        manifest = artifacts.read_manifest(report, "report")
        staging = artifacts.staging_directory(report)
        shutil.copytree(report, staging, dirs_exist_ok=True)
        (staging / REPORT_PAGE).write_text(linked, encoding="utf-8")
        artifacts.commit(
            staging,
            report,
            kind="report",
            spec_fingerprint=manifest.spec_fingerprint,
            config_fingerprint=manifest.config_fingerprint,
            parents=manifest.parents,
            counts=manifest.counts,
            details=manifest.details,
        )
    return True


def _run_all(seed_runs: list[SeedRun], reporter: Reporter) -> list[str]:
    failed: dict[str, str] = {}
    remaining = _RemainingTime(len(seed_runs))
    for position, seed_run in enumerate(seed_runs, 1):
        title = f"[{position}/{len(seed_runs)}] {seed_run.run.name}, seed {seed_run.seed}"
        if seed_run.run.name in failed:
            remaining.skip()
            continue
        _prepare(seed_run, seed_runs, reporter)
        if seed_run.is_finished():
            remaining.skip()
            reporter.message(f"{title}: up to date")
            continue
        started = time.monotonic()
        end = execute(seed_run, _listener(reporter, title, position - 1, len(seed_runs)))
        if end.code == 0:
            reporter.message(f"{title}: done in {remaining.finish(time.monotonic() - started)}")
            continue
        remaining.skip()
        failure = explain(seed_run, end)
        if end.code == _ENVIRONMENT_IS_WRONG:
            raise UnsupportedEnvironment(failure)
        failed[seed_run.run.name] = failure
        reporter.message(f"{title}: {end.in_words}; the other runs go on")
    return list(failed.values())


def _prepare(seed_run: SeedRun, seed_runs: list[SeedRun], reporter: Reporter) -> None:
    seed_run.write_config()
    seed_run.workdir.mkdir(exist_ok=True)
    wait_until_free(seed_run.workdir, reporter)
    reuse_from(
        seed_run, (other.workdir for other in seed_runs if other.run.data == seed_run.run.data)
    )


def _listener(reporter: Reporter, title: str, done: float, total: float) -> Callable[[str], None]:
    reporter.progress(title, done, total)
    return lambda line: reporter.progress(title, done, total, line)


def explain(seed_run: SeedRun, end: ProcessExit) -> str:
    """Says which seed failed, with its last lines and the command that repeats only this seed."""
    lines = "".join(f"\n  {line}" for line in end.last_lines)
    return (
        f"run {seed_run.run.name}, seed {seed_run.seed}: {end.in_words}. It said last:{lines}\n"
        f"To repeat it alone: {seed_run.command}"
    )


class _RemainingTime:
    """Estimates how long the remaining seeds will take, from those that were not up to date."""

    def __init__(self, num_seed_runs: int) -> None:
        self._left = num_seed_runs
        self._seconds: list[float] = []

    def skip(self) -> None:
        """Counts a seed that took no time."""
        self._left -= 1

    def finish(self, seconds: float) -> str:
        """Counts a seed's duration; returns the duration and the estimate in words."""
        self._left -= 1
        self._seconds.append(seconds)
        if not self._left:
            return rendering.duration(seconds)
        recent = self._seconds[-10:]
        left = self._left * sum(recent) / len(recent)
        return f"{rendering.duration(seconds)}, about {rendering.duration(left)} left"


def compare_seed_runs(
    seed_runs: Sequence[SeedRun], root: Path
) -> comparison_document.ComparisonDocument:
    """Reads every seed's report and compares the runs.

    Raises:
        ComparisonError: the seeds of a run were judged on different data.
        ArtifactError: a report cannot be read.
    """
    by_run: dict[str, list[SeedRun]] = {}
    for seed_run in seed_runs:
        by_run.setdefault(seed_run.run.name, []).append(seed_run)
    return comparing_runs.compare_runs(
        [
            comparing_runs.RunResult(
                name=name,
                label=seeds[0].run.label,
                config=seeds[0].run.config,
                directory=seeds[0].directory.relative_to(root).as_posix(),
                baselines_of=seeds[0].run.baselines_of,
                seeds=tuple(_result(seed_run) for seed_run in seeds),
            )
            for name, seeds in by_run.items()
        ]
    )


def _result(seed_run: SeedRun) -> comparing_runs.SeedResult:
    report = Layout(seed_run.workdir).report
    return comparing_runs.SeedResult(
        report_files.read_evaluation(report),
        report_files.read_per_query(report / report_files.PER_QUERY),
        read_durations(seed_run.workdir),
    )


def write_comparison(
    document: comparison_document.ComparisonDocument,
    root: Path,
    origin: rendering.Origin,
    reports: Mapping[str, Sequence[int]],
) -> None:
    """Writes `comparison.json`, `comparison.md` and `index.html`, each whole or not at all.

    Args:
        document: the comparison.
        root: directory of the files.
        origin: command, documents and date, for the page.
        reports: the seeds that have a report, by run.
    """
    partial = {name: root / f".{name}.partial" for name in (DOCUMENT, MARKDOWN, PAGE)}
    write_json(partial[DOCUMENT], document)
    partial[MARKDOWN].write_text(comparison_tables.comparison_markdown(document), encoding="utf-8")
    partial[PAGE].write_text(
        comparison_page.render_comparison(document, origin, reports), encoding="utf-8"
    )
    for name, path in partial.items():
        path.replace(root / name)
