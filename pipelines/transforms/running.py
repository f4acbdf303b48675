"""Runs one Beam pipeline: reads its options, picks the runner, reports progress."""

import difflib
import logging
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import (
    PipelineOptions,
    StandardOptions,
    _BeamArgumentParser,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from tfrs_twotower import errors
from tfrs_twotower.errors import ConfigError

_JOB_SERVER_RUNNERS = ("portable", "flink", "spark", "prism", "kafkastreams")
"""Runners that hand options which Python does not know to a job server, which may know them. A
runner that is named by its module is taken for one, too."""
_CLOSE = 0.6
_SURELY_MISSPELT = 0.9
_REPORT_EVERY_S = 1.0
_IN_PROCESS = (None, "DirectRunner", "FnApiRunner", "InMemoryRunner")
_OUR_ERROR = re.compile(r"tfrs_twotower\.errors\.(\w+): (.*)", re.DOTALL)
_WHILE_RUNNING = re.compile(r"\s*\[while running.*", re.DOTALL)


class _Parser(_BeamArgumentParser):
    """Beam's own parser, with an exception in the place of a page of usage and an exit."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parse_beam_options(arguments: Sequence[str]) -> PipelineOptions:
    """Beam's pipeline options from what stands after `--` on the command line.

    Args:
        arguments: such as `--runner=DataflowRunner`. A runner with a job server (Flink, Spark)
            may be given options that only the server knows, unless they look like misspelt ones.

    Raises:
        ConfigError: nobody knows an option, or its value is not allowed.
    """
    parser = _Parser(allow_abbrev=False, add_help=False)
    # One class may be there twice, where a main session was loaded again.
    for options in {str(kind): kind for kind in PipelineOptions.__subclasses__()}.values():
        options._add_argparse_args(parser)
    try:
        _, unknown = parser.parse_known_args(list(arguments))
    except ValueError as cause:
        raise _refusal(arguments, str(cause)) from cause
    # What follows an unknown option without a `-` is taken for its value.
    names = [argument.split("=", 1)[0] for argument in unknown if argument.startswith("-")]
    if unknown and not unknown[0].startswith("-"):
        raise _refusal(arguments, f"'{unknown[0]}' belongs to no option")
    known = [name for action in parser._actions for name in action.option_strings]
    found = PipelineOptions(list(arguments))
    has_server = _has_job_server(found.view_as(StandardOptions).runner)
    cutoff = _SURELY_MISSPELT if has_server else _CLOSE
    near = {name: difflib.get_close_matches(name, known, n=1, cutoff=cutoff) for name in names}
    refused = [name for name in near if near[name] or not has_server]
    if refused:
        raise _refusal(arguments, _unknown(refused, near))
    return found


def _has_job_server(runner: str | None) -> bool:
    name = (runner or "").lower().removesuffix("runner")
    return name in _JOB_SERVER_RUNNERS or "." in name


def _unknown(names: Iterable[str], near: dict[str, list[str]]) -> str:
    hints = (
        f"'{name}'" + (f" (did you mean '{near[name][0]}'?)" if near[name] else "")
        for name in names
    )
    return f"Beam knows no option {', '.join(hints)}"


def _refusal(arguments: Sequence[str], found: str) -> ConfigError:
    return ConfigError(
        f"Beam options {' '.join(arguments)!r}: {found.rstrip('.')}. Allowed are Beam's pipeline "
        "options, such as --runner=DataflowRunner --project=...; correct them after `--`."
    )


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
