"""Runs one Beam pipeline: picks the runner, keeps Beam quiet, says how far it is.

Without a runner among the options the pipeline runs in this process, on Beam's in-memory
`FnApiRunner`. `DirectRunner` is taken for the same: Beam's own switch behind that name may fetch
another runner's binary, which a batch job should never do by itself.
"""

import logging
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines.transforms.beam_options import parse_beam_options
from tfrs_twotower import errors

_REPORT_EVERY_S = 1.0
_IN_PROCESS = (None, "DirectRunner", "FnApiRunner", "InMemoryRunner")
_OUR_ERROR = re.compile(r"tfrs_twotower\.errors\.(\w+): (.*)", re.DOTALL)
_WHILE_RUNNING = re.compile(r"\s*\[while running.*", re.DOTALL)


class ProgressReporter(Protocol):
    """The part of a stage's reporter that a Beam job needs."""

    def progress(
        self, description: str, done: float, total: float | None, detail: str = ""
    ) -> None:
        """Says how much of something is done; `total` is None where it is not known."""


class _Elements:
    """Records that workers inside this process have seen; other processes are not counted."""

    seen = 0


def count_elements(number: int) -> None:
    """Tells the progress display that a worker has seen so many more records."""
    _Elements.seen += number


def run_pipeline(
    build: Callable[[beam.Pipeline], Any],
    beam_options: Sequence[str],
    reporter: ProgressReporter,
    description: str,
) -> dict[str, int]:
    """Builds a pipeline, runs it to its end and reports progress meanwhile.

    Args:
        build: adds the transforms to the pipeline that it is given.
        beam_options: arguments for Beam's pipeline options, such as
            `--runner=DataflowRunner` or `--direct_running_mode=multi_processing`.
        reporter: is told the elapsed seconds (and records, where workers run in this process)
            from a background thread.
        description: what the job does, for the progress display.

    Returns:
        Beam's user counters by name; empty where the runner keeps none.

    Raises:
        TwoTowerError: a worker raised one; its type and message are kept.
        ConfigError: Beam does not know an option or the runner.
    """
    pipeline = _make_pipeline(beam_options)
    with _quiet_beam(), _progress(reporter, description):
        try:
            build(pipeline)
            result = pipeline.run()
            result.wait_until_finish()
        except Exception as cause:
            known = _our_error(cause)
            if known is None:
                raise
            raise known from cause
    return _counters(result)


def _make_pipeline(beam_options: Sequence[str]) -> beam.Pipeline:
    options = parse_beam_options(beam_options)
    runner = options.view_as(StandardOptions).runner
    try:
        return beam.Pipeline(
            runner=FnApiRunner() if runner in _IN_PROCESS else runner, options=options
        )
    except (ValueError, ImportError, AttributeError) as cause:
        raise errors.ConfigError(
            f"Beam options {' '.join(beam_options)!r}: {str(cause).rstrip('.')}. Correct --runner "
            "after `--`, or leave it out to run in this process."
        ) from cause


def _our_error(cause: BaseException) -> errors.TwoTowerError | None:
    """Finds the error that a worker raised in what the runner made of it."""
    link: BaseException | None = cause
    while link is not None:
        if isinstance(link, errors.TwoTowerError):
            return type(link)(_WHILE_RUNNING.sub("", str(link)))
        found = _OUR_ERROR.search(str(link))
        if found:
            kind = getattr(errors, found.group(1), errors.DataError)
            return kind(_WHILE_RUNNING.sub("", found.group(2)).strip())
        link = link.__cause__ or link.__context__
    return None


def _counters(result: Any) -> dict[str, int]:
    try:
        found = result.metrics().query(MetricsFilter())["counters"]
    except (AttributeError, NotImplementedError, KeyError):
        return {}
    return {counter.key.metric.name: int(counter.result) for counter in found}


@contextmanager
def _quiet_beam() -> Iterator[None]:
    # Beam logs through its own loggers and through the root logger; both are about its insides.
    before = logging.root.manager.disable
    logging.disable(max(before, logging.ERROR))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"apache_beam\..*")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _progress(reporter: ProgressReporter, description: str) -> Iterator[None]:
    finished = threading.Event()
    started = time.monotonic()
    before = _Elements.seen

    def report() -> None:
        elapsed_s = time.monotonic() - started
        seen = _Elements.seen - before
        detail = f"{elapsed_s:.0f} s" + (f", {seen:,} records" if seen else "")
        reporter.progress(description, float(seen), None, detail)

    def watch() -> None:
        while not finished.wait(_REPORT_EVERY_S):
            report()

    watcher = threading.Thread(target=watch, name="beam-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()
        report()
