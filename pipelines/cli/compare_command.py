"""`twotower compare`: several runs over several seeds."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.running import JSON_OPTION, SET_OPTION, WORKDIR_OPTION, print_json


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_OR_GRID...",
            show_default=False,
            help="Run configs, or grid files with many variants of one. Others are tested against "
            "the first run.",
        ),
    ],
    workdir: Annotated[Path, WORKDIR_OPTION],
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Each run is trained with the seeds 0 to N - 1.")
    ] = 5,
    overrides: Annotated[list[str] | None, SET_OPTION] = None,
    json_output: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Train several runs with several seeds; one leaderboard with paired tests.

    Writes WORKDIR/index.html, comparison.json and comparison.md. Each seed of each run is an
    ordinary working directory, WORKDIR/runs/NAME/seed-N; runs of the same data share one
    preprocessing. Said again, the same command computes what is missing: after a kill, with more
    seeds, or with more runs. --set applies to all runs.

    \b
      twotower compare mine/mine_run.yaml mine/wide_run.yaml --workdir build/compare --seeds 5
      twotower compare mine/grid.yaml --workdir build/grid --seeds 5
    \b
    A grid file names a run config and what each row changes in it:
    \b
      base: mine_run.yaml          # or a list: every row for each of them
      rows:
        as_it_is: {}
        no_logq: {set: {training.softmax.logq: none}}
        wide: {set: {model.embedding_dim: 128}}
        with_titles: {spec: mine_titles.yaml}
    """  # noqa: D301  (click reads the control character)
    from pipelines.cli.comparison_tables import comparison_as_json, print_comparison
    from pipelines.cli.reporting import make_reporter
    from pipelines.comparing.comparing import compare as run_comparison
    from pipelines.comparing.plan import load_plan
    from pipelines.stages.workdir import open_workdir

    plan = load_plan(runs, overrides or ())
    root = open_workdir(workdir)
    document = run_comparison(plan, seeds, root, make_reporter())
    if json_output:
        print_json(comparison_as_json(document, root))
    else:
        print_comparison(document, root)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(short_help="Train several runs over seeds; one leaderboard with tests.")(compare)
