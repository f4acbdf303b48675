"""Runs a Beam pipeline: parses its options, chooses the runner, reports progress."""

import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NoReturn

import apache_beam as beam
import grpc
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    StandardOptions,
    _BeamArgumentParser,
)
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines.progress import Reporter
from pipelines.transforms import batches
from pipelines.transforms.watched_workers import WatchedWorker
from tfrs_twotower import errors

_JOB_SERVER_RUNNERS = ("portable", "flink", "spark", "prism", "kafkastreams")
"""Runners that pass options unknown to Python on to a job server, which may know them. A runner
that is named by its module counts as one."""
_UNFIT = {
    "dask": "it drops what a transform puts out under a tag and at the end of a bundle, without an "
    "error, so that examples and embeddings would be missing"
}
"""Runners that lose elements, and how; see docs/engines.md."""
_SIMILAR = 0.6
_SURELY_MISSPELT = 0.9
_REPORT_EVERY_S = 1.0
_IN_PROCESS = (None, "DirectRunner", "FnApiRunner", "InMemoryRunner")
_OWN_ERROR = re.compile(r"tfrs_twotower\.errors\.(\w+): (.*)", re.DOTALL)
_WHILE_RUNNING = re.compile(r"\s*\[while running.*", re.DOTALL)


class _Parser(_BeamArgumentParser):
    """Beam's parser, which raises an exception instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parse_beam_options(arguments: Sequence[str]) -> PipelineOptions:
    """Parses the arguments after `--` on the command line into Beam's pipeline options.

    Args:
        arguments: options such as `--runner=DataflowRunner`. With a job server (Flink, Spark),
            options that only the server knows are allowed unless they look like a misspelt option
            of Beam.

    Raises:
        ConfigError: an option is unknown, its value is not allowed, or the runner is known to lose
            elements.
    """
    parser = _Parser(allow_abbrev=False, add_help=False)
    # A class is registered twice after a main session was loaded again.
    for kind in {str(kind): kind for kind in PipelineOptions.__subclasses__()}.values():
        kind._add_argparse_args(parser)
    try:
        _, unknown = parser.parse_known_args(list(arguments))
    except ValueError as cause:
        raise _refusal(arguments, str(cause)) from cause
    # An argument without a `-` counts as the value of the unknown option before it.
    names = [argument.split("=", 1)[0] for argument in unknown if argument.startswith("-")]
    if unknown and not unknown[0].startswith("-"):
        raise _refusal(arguments, f"'{unknown[0]}' belongs to no option")
    known = [name for action in parser._actions for name in action.option_strings]
    options = PipelineOptions(list(arguments))
    runner = options.view_as(StandardOptions).runner
    if reason := _UNFIT.get(_short_name(runner)):
        raise errors.ConfigError(
            f"Beam options {' '.join(arguments)!r}: {runner} is refused: {reason}. Leave --runner "
            "out to run in this process, add --direct_running_mode=multi_processing for several "
            "processes, or name a runner that docs/engines.md lists."
        )
    has_server = _has_job_server(runner)
    cutoff = _SURELY_MISSPELT if has_server else _SIMILAR
    hints = {name: errors.did_you_mean(name, known, cutoff=cutoff) for name in names}
    refused = [f"'{name}'{hint}" for name, hint in hints.items() if hint or not has_server]
    if refused:
        raise _refusal(arguments, f"Beam has no option {', '.join(refused)}")
    return options


def _short_name(runner: str | None) -> str:
    """Such as `dask`, also of a runner that is named by its module."""
    return (runner or "").lower().rpartition(".")[2].removesuffix("runner")


def _has_job_server(runner: str | None) -> bool:
    return _short_name(runner) in _JOB_SERVER_RUNNERS or "." in (runner or "")


def _refusal(arguments: Sequence[str], problem: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"Beam options {' '.join(arguments)!r}: {problem.rstrip('.')}. Allowed are Beam's pipeline "
        "options, such as --runner=DataflowRunner --project=...; correct them after `--`."
    )


class _ReadRecords:
    """The records that workers inside this process have read; other processes do not count."""

    count = 0


def count_records(number: int) -> None:
    """Adds to the number of records that the progress display shows, and to Beam's counter."""
    _ReadRecords.count += number
    Metrics.counter("twotower", "records").inc(number)


def run_pipeline(
    build: Callable[[beam.Pipeline], Any],
    beam_options: Sequence[str],
    reporter: Reporter,
    description: str,
    *,
    compress: bool = False,
) -> dict[str, int]:
    """Builds a pipeline, runs it to its end, and reports its progress.

    Args:
        build: adds the transforms to a pipeline.
        beam_options: arguments for Beam's pipeline options, such as
            `--runner=DataflowRunner` or `--direct_running_mode=multi_processing`.
        reporter: shows the elapsed seconds (and the records, where workers run in this process);
            called from a background thread.
        description: name of the job in the progress display.
        compress: whether tables are compressed even if they do not leave this process, where they
            wait in memory: less memory for more time.

    Returns:
        Beam's user counters by name; empty if the runner keeps none.

    Raises:
        TwoTowerError: a worker raised this error; its type and message are kept.
        SystemFailure: a worker process was killed.
        ConfigError: an option or the runner is unknown to Beam.
    """
    pipeline = _make_pipeline(beam_options)
    WatchedWorker.killed_by = ""
    with (
        _quiet_beam(),
        _progress(reporter, description),
        packing(pipeline.options, compress=compress),
    ):
        try:
            build(pipeline)
            result = pipeline.run()
            result.wait_until_finish()
        except Exception as cause:
            own_error = _find_own_error(cause) or _killed_worker(description)
            if own_error is None:
                raise
            raise own_error from cause
    return _counters(result)


def packing(options: PipelineOptions, *, compress: bool = False) -> AbstractContextManager[None]:
    """How a job packs tables: compressed, unless its workers are threads of this process."""
    is_local = options.view_as(StandardOptions).runner in _IN_PROCESS
    alone = is_local and options.view_as(DirectOptions).direct_running_mode != "multi_processing"
    return batches.as_they_are() if alone and not compress else nullcontext()


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


def _find_own_error(cause: BaseException) -> errors.TwoTowerError | None:
    """The project's error that a worker raised, recovered from the runner's exception."""
    link: BaseException | None = cause
    while link is not None:
        if isinstance(link, errors.TwoTowerError):
            return type(link)(_WHILE_RUNNING.sub("", str(link)))
        match = _OWN_ERROR.search(str(link))
        if match:
            kind = getattr(errors, match.group(1), errors.DataError)
            return kind(_WHILE_RUNNING.sub("", match.group(2)).strip())
        link = link.__cause__ or link.__context__
    return None


def _killed_worker(description: str) -> errors.SystemFailure | None:
    if not WatchedWorker.killed_by:
        return None
    return errors.SystemFailure(
        f"{description}: a worker process was killed ({WatchedWorker.killed_by}), and with it the "
        "job. If the system's log says that memory was short, lower --direct_num_workers. Nothing "
        "was written that counts; run the same command again."
    )


def _counters(result: Any) -> dict[str, int]:
    # A runner may lack metrics in any way: no method, one that raises, one whose tables are None.
    # The job is finished by then, and nothing is decided by its counters.
    try:
        counters = result.metrics().query(MetricsFilter())["counters"]
        return {counter.key.metric.name: int(counter.result) for counter in counters}
    except (AttributeError, NotImplementedError, KeyError, TypeError, ValueError):
        return {}


@contextmanager
def _quiet_beam() -> Iterator[None]:
    # Beam logs its internals through its own loggers and through the root logger.
    before, hook = logging.root.manager.disable, threading.excepthook
    logging.disable(max(before, logging.ERROR))

    def ignore_ends(failure: threading.ExceptHookArgs) -> None:
        # A worker that is killed breaks off the streams that threads of Beam read.
        if not isinstance(failure.exc_value, grpc.RpcError):
            hook(failure)

    threading.excepthook = ignore_ends
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"apache_beam\..*")
            yield
    finally:
        logging.disable(before)
        threading.excepthook = hook


@contextmanager
def _progress(reporter: Reporter, description: str) -> Iterator[None]:
    finished = threading.Event()
    count_before = _ReadRecords.count

    def report() -> None:
        count = _ReadRecords.count - count_before
        reporter.progress(description, float(count), None, "records read" if count else "")

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
