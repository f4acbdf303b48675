"""`twotower run`, and one command for each stage."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.running import (
    BEAM_ARGUMENT,
    JSON_OPTION,
    RUN_ARGUMENT,
    SET_OPTION,
    WORKDIR_OPTION,
    make_context,
    outcomes_as_json,
    print_json,
)

_STAGES = {
    "preprocess": "Validate the tables; write examples, corpus, vocabularies, statistics (Beam).",
    "train": "Train both towers; resumes from its last checkpoint.",
    "embed": "Embed the corpus and the evaluated queries (Beam).",
    "build-index": "Build the candidate index and measure it against exact search.",
    "export": "Write the bundles for TF Serving as a new version.",
    "evaluate": "Rank the full catalogue for the test queries; write evaluation.json and the page.",
}

_Run = Annotated[Path, RUN_ARGUMENT]
_Workdir = Annotated[Path, WORKDIR_OPTION]
_Set = Annotated[list[str] | None, SET_OPTION]
_Json = Annotated[bool, JSON_OPTION]
_Beam = Annotated[list[str] | None, BEAM_ARGUMENT]
_From = Annotated[str | None, typer.Option("--from", metavar="STAGE", help="First stage.")]
_To = Annotated[str | None, typer.Option("--to", metavar="STAGE", help="Last stage.")]


def run(
    run_config: _Run,
    workdir: _Workdir,
    beam_options: _Beam = None,
    first: _From = None,
    last: _To = None,
    overrides: _Set = None,
    json_output: _Json = False,
) -> None:
    """Run all stages, skipping those whose inputs and settings are unchanged."""
    _run(run_config, workdir, first, last, overrides, beam_options, json_output=json_output)


def _run(
    run_config: Path,
    workdir: Path,
    first: str | None,
    last: str | None,
    overrides: list[str] | None,
    beam_options: list[str] | None,
    *,
    json_output: bool,
    force: bool = False,
) -> None:
    from pipelines.stages.order import STAGE_NAMES, run_stages, select_stages

    for option, name in (("--from", first), ("--to", last)):
        if name is not None and name not in STAGE_NAMES:
            raise typer.BadParameter(
                f"'{name}' is no stage; the stages are {', '.join(STAGE_NAMES)}.",
                param_hint=option,
            )
    context = make_context(run_config, workdir, overrides or (), beam_options or ())
    outcomes = run_stages(context, select_stages(first, last), force=force)
    if json_output:
        print_json(outcomes_as_json(outcomes))
    elif outcomes[-1].name == "evaluate":
        from pipelines.cli.leaderboard import print_leaderboard

        print_leaderboard(context.layout)


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
            name,
            name,
            overrides,
            beam_options,
            json_output=json_output,
            force=True,
        )

    command.__doc__ = _STAGES[name]
    return command


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(run)
    for name in _STAGES:
        app.command(name)(_stage_command(name))
