"""`twotower dataset`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.running import JSON_OPTION, print_json


def dataset(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Name of the set; `list` shows them.", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Data root; the set gets a directory in it.")
    ] = Path("data"),
    source: Annotated[
        Path | None,
        typer.Option("--source", help="Directory with the set in its official layout."),
    ] = None,
    json_output: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Fetch a public data set and convert it to the tables of its feature spec.

    \b
      twotower dataset list
      twotower dataset movielens-100k --out data
      twotower run pipelines/configs/movielens_100k.yaml --workdir build/ml
    """  # noqa: D301  (click reads the control character)
    from pipelines.cli.reporting import make_reporter
    from pipelines.datasets.fetch import dataset_names, prepare

    if name == "list":
        for known in dataset_names():
            typer.echo(known)
        return
    directory = prepare(name, out, source, make_reporter())
    if json_output:
        print_json({"dataset": name, "directory": str(directory)})
    else:
        typer.echo(f"{name} is in {directory}")


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(short_help="Fetch and convert a public data set.")(dataset)
