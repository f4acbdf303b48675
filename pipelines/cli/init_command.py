"""`twotower init`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.running import JSON_OPTION, print_json


def init(
    interactions: Annotated[Path, typer.Option(help="Table of events: CSV, TSV, JSONL, Parquet.")],
    candidates: Annotated[Path, typer.Option(help="Table of candidates.")],
    queries: Annotated[Path | None, typer.Option(help="Table of queries (users).")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the two files go.")] = Path(),
    name: Annotated[
        str | None, typer.Option(help="Name of the data set; by default the directory's.")
    ] = None,
    json_output: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Write a first feature spec and run config from your tables; read them, then run."""
    from pipelines.init_spec.writing import write_first_spec

    spec, run = write_first_spec(interactions, candidates, queries, out, name)
    if json_output:
        print_json({"spec": str(spec), "run": str(run)})
    else:
        typer.echo(f"Feature spec: {spec}\nRun config:   {run}")
        typer.echo(f"Next: read both, then `twotower run {run} --workdir build/{run.stem}`.")


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(init)
