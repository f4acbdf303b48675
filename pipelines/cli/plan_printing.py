"""Prints what a run would do: which stages, why, and how large everything is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from pipelines.cli import arguments
from pipelines.stages import up_to_date
from pipelines.stages.sequence import part_of_run

if TYPE_CHECKING:
    from pipelines.stages.context import StageContext
    from pipelines.stages.sequence import Stage

_MB = 1e6


def print_plan(
    context: "StageContext", stages: "Sequence[Stage]", *, json_output: bool = False
) -> None:
    """Prints the tables and the stages, as lines or as one JSON object.

    Raises:
        ConfigError: the first or the last stage is not part of the run.
        DataError: a table's file cannot be found.
    """
    parts = part_of_run(stages, context.config)
    planned = up_to_date.plan(context, [(stage.name, stage.kind) for stage in parts])
    tables = up_to_date.table_sizes(context)
    if json_output:
        sizes = {name: {"files": files, "bytes": size} for name, (files, size) in tables.items()}
        rows = [{**one._asdict(), "runs": bool(one.reason)} for one in planned]
        arguments.print_json({"tables": sizes, "stages": rows})
        return
    for name, (files, size) in tables.items():
        shown = "remote" if size is None else f"{size / _MB:,.1f} MB"
        typer.echo(f"{name}: {files} file{'s' if files > 1 else ''}, {shown}")
    for one in planned:
        state = f"runs: {one.reason}" if one.reason else "up to date"
        took = "" if one.seconds is None else f", took {one.seconds:,.1f} s"
        there = f" ({one.size_bytes / _MB:,.1f} MB{took})" if one.size_bytes else ""
        typer.echo(f"{one.stage}: {state}{there}")
