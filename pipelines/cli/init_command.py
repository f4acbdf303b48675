"""`twotower init`."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from pipelines.cli.running import JSON_OPTION, print_json


def init(
    interactions: Annotated[
        Path,
        typer.Option(
            help="Table of events (who chose what, and when): CSV, TSV, JSONL or Parquet."
        ),
    ],
    candidates: Annotated[Path, typer.Option(help="Table of what can be recommended or found.")],
    queries: Annotated[
        Path | None, typer.Option(help="Table of users or queries, if there is one.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the two files go.")] = Path(),
    name: Annotated[
        str | None,
        typer.Option(help="Name of the data set; by default that of the interactions' directory."),
    ] = None,
    json_output: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Write a first feature spec and run config from your tables; read them, then run.

    Columns may have any names; each choice is explained beside it. The interactions need a column
    of times (or one that names the split), and the ids of both sides.

    \b
      twotower init --interactions loans.csv --candidates books.csv \\
          --queries readers.csv --out mine --name library
    """  # noqa: D301  (click reads the control character)
    from pipelines.init_spec.writing import write_first_spec

    spec, run = write_first_spec(interactions, candidates, queries, out, name)
    if json_output:
        print_json({"spec": str(spec), "run": str(run)})
    else:
        typer.echo(f"Feature spec: {spec}\nRun config:   {run}")
        workdir = Path("build") / run.stem.removesuffix("_run")
        typer.echo(f"Next: read both, then `twotower run {quote(str(run))} --workdir {workdir}`.")


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(short_help="Write a first feature spec and run config from tables.")(init)
