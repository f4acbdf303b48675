"""Arguments that several commands share, the run that they describe, and output of commands."""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.stages.context import StageContext
    from pipelines.stages.sequence import StageOutcome

RUN_ARGUMENT = typer.Argument(
    metavar="RUN_CONFIG",
    show_default=False,
    help="Run config (YAML), or the name of one that comes with the package, such as "
    "movielens_100k.",
)
WORKDIR_OPTION = typer.Option("--workdir", "-w", help="Directory for the artifacts; it is created.")
SET_OPTION = typer.Option(
    "--set",
    metavar="A.B=C",
    help="Override a key of the run config, such as training.epochs=5; repeatable.",
)
DRY_RUN_OPTION = typer.Option(
    "--dry-run",
    help="Say what would run and why, with sizes and earlier durations; run nothing.",
)
SINCE_OPTION = typer.Option(
    "--since",
    metavar="DATE",
    help="A daily run: events from this UTC day on (2026-11-20) are new. Training goes on from "
    "the model before (`daily` in the run config).",
)
LOG_FORMAT_OPTION = typer.Option(
    "--log-format",
    metavar="text|json",
    help="json: one object on a line of standard error for each message, stage and progress.",
)
METRICS_FILE_OPTION = typer.Option(
    "--metrics-file",
    metavar="FILE.prom",
    help="Write the metrics of each stage for Prometheus' node exporter (its textfile collector).",
)
BUNDLE_ARGUMENT = typer.Argument(
    metavar="BUNDLE",
    show_default=False,
    help="Bundle directory, WORKDIR/bundle/NAME (its served version), or one version in it.",
)
SHARDED_BUNDLE_ARGUMENT = typer.Argument(
    metavar="BUNDLE",
    show_default=False,
    help="Bundle directory, WORKDIR/bundle/NAME; for all shards, without -shard-...",
)
JSON_OPTION = typer.Option("--json", help="Print one JSON object on standard output.")
_WIDTH_WITHOUT_TERMINAL = 160
BEAM_ARGUMENT = typer.Argument(
    metavar="-- BEAM_OPTIONS",
    show_default=False,
    help="Beam pipeline options after `--`, such as `-- --runner=DataflowRunner --region=...`.",
)


def expect_bundle(path: Path) -> None:
    """Checks that there is a bundle, all shards of one, or a version, before TensorFlow is loaded.

    Raises:
        BundleError: there is none.
    """
    from serving.bundle.versions import find_shards, resolve_version

    for bundle in find_shards(path):
        resolve_version(bundle)


def expect_versions(path: Path) -> None:
    """Does the same where a version cannot be named."""
    from serving.bundle import versions

    for bundle in versions.find_shards(path):
        versions.existing_versions(bundle)


def expect_files(*paths: Path | None) -> None:
    """Checks that each file, directory or glob names something, before anything is loaded.

    Raises:
        DataError: one of them names nothing.
    """
    from tfrs_twotower.errors import DataError
    from tfrs_twotower.tables.files import find_local_files

    for path in paths:
        if path is not None and not find_local_files(Path(), str(path)):
            raise DataError(f"{path}: there is no such file. Name a file, directory or glob.")


def make_context(
    run: Path,
    workdir: Path,
    overrides: Sequence[str] = (),
    beam_options: Sequence[str] = (),
    **more: Any,
) -> "StageContext":
    """Reads the run config and the feature spec, checks them together, and prepares the run.

    Further keywords are fields of `StageContext`, such as the reporter.

    Raises:
        ConfigError: the run config is wrong, or does not fit the spec.
        FeatureSpecError: the feature spec is wrong.
        WorkdirError: the working directory cannot be written.
    """
    from pipelines.cli.reporting import make_reporter
    from pipelines.shipped_files import find_run_config
    from pipelines.stages.context import StageContext, open_workdir
    from tfrs_twotower.artifacts import Layout
    from tfrs_twotower.config import data_root, load_run_config, spec_path
    from tfrs_twotower.preflight.run import check_run
    from tfrs_twotower.specs import load_spec

    run = find_run_config(run)
    config = load_run_config(run, tuple(overrides))
    spec = load_spec(spec_path(config, run))
    check_run(spec, config)
    return StageContext(
        layout=more.pop("layout", None) or Layout(open_workdir(workdir)),
        spec=spec,
        config=config,
        data_root=data_root(config, run),
        reporter=more.pop("reporter", None) or make_reporter(),
        beam_options=tuple(beam_options),
        **more,
        command=command_line(),
        documents={"run config": str(run), "feature spec": os.path.relpath(spec_path(config, run))},
    )


def command_line() -> str:
    """The command that this process was started with, as a line for a shell."""
    return shlex.join(["twotower", *sys.argv[1:]])


def typed_texts(arguments: Sequence[str] | None, option: str) -> list[str]:
    """Values of an option as UTF-8 text, even where the terminal says that it is ASCII.

    Raises:
        BadParameter: a value is not UTF-8.
    """
    try:
        return [os.fsencode(argument).decode("utf-8") for argument in arguments or ()]
    except UnicodeError:
        raise typer.BadParameter("expected UTF-8 text", param_hint=option) from None


def output_console() -> "Console":
    """A console as wide as the terminal, or wide enough for tables in a file or a pipe."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    return Console(highlight=False, markup=False, width=width)


def print_json(value: Any) -> None:
    """Prints one JSON object on a line; with escapes where standard output is not UTF-8."""
    from tfrs_twotower.data.lines import json_line

    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    typer.echo(json_line(value) if is_unicode else json.dumps(value))


def outcomes_as_json(outcomes: Sequence["StageOutcome"]) -> dict[str, Any]:
    """The object that `run --json` prints."""
    return {
        "stages": [
            {
                "stage": outcome.name,
                "skipped": outcome.skipped,
                "seconds": round(outcome.seconds, 3),
                "fingerprint": outcome.fingerprint,
                "directory": str(outcome.directory),
                "counts": dict(outcome.counts),
            }
            for outcome in outcomes
        ]
    }
