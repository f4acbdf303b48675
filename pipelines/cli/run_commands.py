"""`twotower run`, and one command for each stage."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import arguments
from tfrs_twotower.errors import ConfigError, WorkerLost, did_you_mean

_STAGES = {
    "preprocess": (
        "Turn tables into examples, corpus and vocabularies.",
        "Validate the tables; write examples, corpus, vocabularies, statistics (Beam).",
    ),
    "train": (
        "Train both towers.",
        "Train both towers. An interrupted training continues from its last checkpoint.",
    ),
    "embed": (
        "Embed the corpus and the evaluated queries.",
        "Embed the corpus and the evaluated queries (Beam).",
    ),
    "build-index": (
        "Build and measure the candidate index.",
        "Build the candidate index and measure it against exact search.",
    ),
    "mine": (
        "Mine negatives from what retrieval returns.",
        "Store the candidates that retrieval returns for the training examples; the pre-ranker "
        "learns from them. Needs a pre_ranking section in the run config.",
    ),
    "train-pre-ranker": (
        "Train the second stage of the cascade.",
        "Train the pre-ranker, which re-scores retrieved candidates. An interrupted training "
        "continues from its last checkpoint. Needs a pre_ranking section in the run config.",
    ),
    "export": (
        "Write the bundles for TF Serving.",
        "Write the bundles for TF Serving as a new version; keep a few older versions.",
    ),
    "evaluate": (
        "Compare with the baselines; write the report.",
        "Rank the full catalogue for the test queries with the model and the baselines; write "
        "report/evaluation.json and report/index.html.",
    ),
}
"""For each stage, a line for the list of commands and sentences for its own help."""
_Run = Annotated[Path, arguments.RUN_ARGUMENT]
_Workdir = Annotated[Path, arguments.WORKDIR_OPTION]
_Set = Annotated[list[str] | None, arguments.SET_OPTION]
_Json = Annotated[bool, arguments.JSON_OPTION]
_Beam = Annotated[list[str] | None, arguments.BEAM_ARGUMENT]
_From = Annotated[
    str | None, typer.Option("--from", metavar="STAGE", help="First stage that may run.")
]
_To = Annotated[str | None, typer.Option("--to", metavar="STAGE", help="Last stage that may run.")]
_For = Annotated[
    str | None,
    typer.Option("--for", metavar="STAGE", help="This stage, and only the stages it needs."),
]

_DryRun = Annotated[bool, arguments.DRY_RUN_OPTION]
_Since = Annotated[str | None, arguments.SINCE_OPTION]
_LogFormat = Annotated[str, arguments.LOG_FORMAT_OPTION]
_MetricsFile = Annotated[Path | None, arguments.METRICS_FILE_OPTION]

if TYPE_CHECKING:
    from pipelines.stages.sequence import Stage


def run(
    run_config: _Run,
    workdir: _Workdir,
    beam_options: _Beam = None,
    first: _From = None,
    last: _To = None,
    target: _For = None,
    overrides: _Set = None,
    since: _Since = None,
    dry_run: _DryRun = False,
    log_format: _LogFormat = "text",
    metrics_file: _MetricsFile = None,
    json_output: _Json = False,
) -> None:
    """Run all stages, skipping those whose inputs and settings are unchanged.

    The stages, in order: preprocess, train, embed, build-index, export, evaluate; before export,
    if the run config has a pre_ranking section: mine, train-pre-ranker. A killed run continues
    where it stopped.

    \b
      twotower run mine/mine_run.yaml --workdir build/mine
      twotower run mine/mine_run.yaml --workdir build/mine --set training.epochs=5
      twotower run mine/mine_run.yaml --workdir build/mine --to train
      twotower run mine/mine_run.yaml --workdir build/mine --for evaluate
      twotower run mine/mine_run.yaml --workdir build/mine --dry-run
      twotower run mine/mine_run.yaml --workdir build/mine --since 2026-11-20
      twotower run movielens_100k --workdir build/movielens_100k
    """  # noqa: D301  (click reads the control character)
    stages = _select(first, last, target)
    more: dict[str, Any] = {"since": _day(since)}
    if log_format not in ("text", "json"):
        raise typer.BadParameter(
            f"'{log_format}' is neither text nor json.", param_hint="--log-format"
        )
    if dry_run:
        from pipelines.cli.plan_printing import print_plan
        from tfrs_twotower.artifacts import Layout

        more["layout"] = Layout(workdir.resolve())
        context = arguments.make_context(run_config, workdir, overrides or (), **more)
        print_plan(context, stages, json_output=json_output)
        return
    listeners: list[Any] = []
    if log_format == "json":
        from pipelines.cli.reporting import JsonReporter

        more["reporter"] = reporter = JsonReporter()
        listeners.append(reporter)
    if metrics_file is not None:
        from pipelines.stages.metrics_file import MetricsFile

        listeners.append(MetricsFile(metrics_file, workdir))
    more["listeners"] = tuple(listeners)
    _run(run_config, workdir, stages, overrides, beam_options, json_output=json_output, **more)


def _day(since: str | None) -> str | None:
    with suppress(ValueError):
        if since is None or date.fromisoformat(since).isoformat() == since:
            return since
    expected = f"found '{since}'; expected a UTC day such as 2026-11-20."
    raise typer.BadParameter(expected, param_hint="--since")


def _run(
    run_config: Path,
    workdir: Path,
    stages: "tuple[Stage, ...]",
    overrides: list[str] | None,
    beam_options: list[str] | None,
    *,
    json_output: bool,
    force: bool = False,
    **more: Any,
) -> None:
    from pipelines.stages.sequence import run_stages

    context = arguments.make_context(
        run_config, workdir, overrides or (), beam_options or (), **more
    )
    try:
        outcomes = run_stages(context, stages, force=force)
    except WorkerLost as lost:
        # TensorFlow joins a cluster once in a process, so the wait for the lost one needs another.
        context.reporter.message(f"{lost} Waiting for it.")
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606
    evaluated = outcomes[-1].name == "evaluate"
    if json_output:
        answer = arguments.outcomes_as_json(outcomes)
        if evaluated:
            from pipelines.cli.printing import verdict_as_json

            answer["verdict"] = verdict_as_json(context.layout)
        arguments.print_json(answer)
    elif evaluated:
        from pipelines.cli.printing import print_leaderboard

        print_leaderboard(context.layout)
        typer.echo(f"Report: {context.layout.report / 'index.html'}")


def _select(
    first: str | None = None, last: str | None = None, target: str | None = None
) -> "tuple[Stage, ...]":
    from pipelines.stages.sequence import STAGE_NAMES, select_stages, stages_for

    for option, name in (("--from", first), ("--to", last), ("--for", target)):
        if name is not None and name not in STAGE_NAMES:
            raise typer.BadParameter(
                f"'{name}' is not a stage{did_you_mean(name, STAGE_NAMES)}; the stages are "
                f"{', '.join(STAGE_NAMES)}.",
                param_hint=option,
            )
    if target is not None:
        if first is not None or last is not None:
            raise typer.BadParameter("cannot be given with --from or --to.", param_hint="--for")
        return stages_for(target)
    try:
        return select_stages(first, last)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from None


def _stage_command(name: str) -> Callable[..., None]:
    def command(
        run_config: _Run,
        workdir: _Workdir,
        beam_options: _Beam = None,
        overrides: _Set = None,
        json_output: _Json = False,
    ) -> None:
        _run(
            run_config,
            workdir,
            _select(name, name),
            overrides,
            beam_options,
            json_output=json_output,
            force=True,
        )

    command.__doc__ = _help_of(name)
    return command


def _export(
    run_config: _Run,
    workdir: _Workdir,
    beam_options: _Beam = None,
    overrides: _Set = None,
    shards: Annotated[
        int | None,
        typer.Option(
            "--shards", min=1, help="Number of bundles to split the corpus into (export.shards)."
        ),
    ] = None,
    keep_refreshed: Annotated[
        bool,
        typer.Option(
            "--keep-refreshed",
            help="Refresh the new version with what `twotower refresh` added, changed and withdrew "
            "since the last export, where the tables have it as before (export.refreshed=keep).",
        ),
    ] = False,
    drop_refreshed: Annotated[
        bool,
        typer.Option(
            "--drop-refreshed",
            help="Take the candidates of the tables, even where that undoes a refresh "
            "(export.refreshed=drop). Without one of the two such an export is refused.",
        ),
    ] = False,
    json_output: _Json = False,
) -> None:
    if keep_refreshed and drop_refreshed:
        raise typer.BadParameter("not with --keep-refreshed.", param_hint="--drop-refreshed")
    overrides = [*(overrides or ())]
    if shards is not None:
        overrides.append(f"export.shards={shards}")
    if keep_refreshed or drop_refreshed:
        overrides.append(f"export.refreshed={'keep' if keep_refreshed else 'drop'}")
    stages = _select("export", "export")
    _run(run_config, workdir, stages, overrides, beam_options, json_output=json_output, force=True)


def _help_of(name: str) -> str:
    return (
        f"{_STAGES[name][1]}\n\nAlways runs this stage, even if nothing changed; "
        "`twotower run` skips stages that are up to date."
    )


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(short_help="Run all stages that are not up to date.")(run)
    _export.__doc__ = _help_of("export")
    for name, (short_help, _) in _STAGES.items():
        command = _export if name == "export" else _stage_command(name)
        app.command(name, short_help=short_help)(command)
