"""`twotower compare`: several runs over several seeds, on one leaderboard."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import arguments
from tfrs_twotower.environment import require_extra


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
    """Adds the command."""
    app.command(short_help="Train several runs over seeds; one tested leaderboard.")(compare)
