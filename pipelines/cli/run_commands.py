"""`twotower run`, one command for each stage, and `twotower compare`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import arguments
from tfrs_twotower.environment import require_extra
from tfrs_twotower.errors import ConfigError, did_you_mean

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
      twotower run movielens_100k --workdir build/movielens_100k
    """  # noqa: D301  (click reads the control character)
    stages = _select(first, last, target)
    _run(run_config, workdir, stages, overrides, beam_options, json_output=json_output)


def _run(
    run_config: Path,
    workdir: Path,
    stages: "tuple[Stage, ...]",
    overrides: list[str] | None,
    beam_options: list[str] | None,
    *,
    json_output: bool,
    force: bool = False,
) -> None:
    from pipelines.stages.sequence import run_stages

    context = arguments.make_context(run_config, workdir, overrides or (), beam_options or ())
    outcomes = run_stages(context, stages, force=force)
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


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_OR_GRID...",
            show_default=False,
            help="Run configs (files, or names as for `run`), or grid files with many variants of "
            "one. The first run is the reference that the others are tested against.",
        ),
    ],
    workdir: Annotated[Path, arguments.WORKDIR_OPTION],
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds", min=1, help="Number of seeds; each run is trained with seeds 0 to N - 1."
        ),
    ] = 5,
    overrides: Annotated[list[str] | None, arguments.SET_OPTION] = None,
    json_output: Annotated[bool, arguments.JSON_OPTION] = False,
) -> None:
    """Train several runs with several seeds; one leaderboard with paired tests.

    Writes WORKDIR/index.html, comparison.json and comparison.md. Each seed of each run has an
    ordinary working directory, WORKDIR/runs/NAME/seed-N; runs of the same data share one
    preprocessing. The same command again computes what is missing: after a kill, with more seeds,
    or with more runs. --set applies to all runs.

    \b
      twotower compare mine/mine_run.yaml mine/wide_run.yaml --workdir build/compare --seeds 5
      twotower compare mine/grid.yaml --workdir build/grid --seeds 5
    \b
    A grid file names a run config and what each row changes in it:
    \b
      base: mine_run.yaml          # or a list: every row for each of them
      rows:
        unchanged: {}
        no_logq: {set: {training.softmax.logq: none}}
        wide: {set: {model.embedding_dim: 128}}
        with_titles: {spec: mine_titles.yaml}
    """  # noqa: D301  (click reads the control character)
    from pipelines.shipped_files import find_run_config

    paths = [find_run_config(run) for run in runs]
    arguments.expect_files(*paths)
    require_extra("pipelines", "apache_beam", "jinja2", needed_by="a comparison of runs")
    from pipelines.cli.comparison_printing import comparison_as_json, print_comparison
    from pipelines.cli.reporting import make_reporter
    from pipelines.comparing.comparing import compare as run_comparison
    from pipelines.comparing.planned_runs import load_plan
    from pipelines.stages.context import open_workdir

    plan = load_plan(paths, overrides or ())
    root = open_workdir(workdir)
    document = run_comparison(plan, seeds, root, make_reporter(), arguments.command_line())
    if json_output:
        arguments.print_json(comparison_as_json(document, root))
    else:
        print_comparison(document, root)


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(short_help="Run all stages that are not up to date.")(run)
    _export.__doc__ = _help_of("export")
    for name, (short_help, _) in _STAGES.items():
        command = _export if name == "export" else _stage_command(name)
        app.command(name, short_help=short_help)(command)
    app.command(short_help="Train several runs over seeds; one tested leaderboard.")(compare)
