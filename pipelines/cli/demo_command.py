"""`twotower demo`: the whole path on MovieLens-100k, then one query in words."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.running import SET_OPTION

_DATASET = "movielens-100k"
_CONFIG = Path(__file__).parent.parent / "configs" / "movielens_100k.yaml"


def demo(
    workdir: Annotated[
        Path, typer.Option("--workdir", "-w", help="Directory for the data and all artifacts.")
    ] = Path("build/demo"),
    source: Annotated[
        Path | None,
        typer.Option("--source", help="Directory with MovieLens-100k, to fetch nothing."),
    ] = None,
    overrides: Annotated[list[str] | None, SET_OPTION] = None,
) -> None:
    """Train, index, export and evaluate MovieLens-100k; then recommend ten films to one user."""
    from pipelines.cli.leaderboard import print_leaderboard
    from pipelines.cli.recommendations import print_bundle_agreement, print_recommendations
    from pipelines.cli.reporting import make_reporter
    from pipelines.cli.running import make_context
    from pipelines.datasets.fetch import prepare
    from pipelines.stages.order import STAGES, run_stages

    data = (workdir / "data").resolve()
    prepare(_DATASET, data, source, make_reporter())
    context = make_context(_CONFIG, workdir, (f"data_root={data}", *(overrides or ())))
    run_stages(context, STAGES)
    print_leaderboard(context.layout)
    print_recommendations(context)
    print_bundle_agreement(context)
    typer.echo(f"\nReport: {context.layout.report / 'index.html'}")


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(short_help="The whole path on MovieLens-100k.")(demo)
