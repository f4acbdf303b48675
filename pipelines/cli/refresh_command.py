"""`twotower refresh`: other candidates in a bundle, without training."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.running import JSON_OPTION, SHARDED_BUNDLE_ARGUMENT, print_json


def refresh(
    bundle: Annotated[Path, SHARDED_BUNDLE_ARGUMENT],
    candidates: Annotated[
        Path | None,
        typer.Option(
            "--candidates",
            metavar="FILE",
            help="New and changed candidates: a table with the columns of the feature spec's "
            "candidates, in any of its formats.",
        ),
    ] = None,
    withdraw: Annotated[
        Path | None,
        typer.Option(
            "--withdraw", metavar="FILE", help="Candidates that go: a text file, an id a line."
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="--candidates is the whole corpus: what is not in it goes too."
        ),
    ] = False,
    json_output: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Publish a new version of a bundle with other candidates, without training.

    The bundle's own towers embed candidates that are new or whose features changed; the others'
    vectors are taken over. The index is built again as the bundle was exported, measured, and
    compared with the served version (export.gate). A new candidate has no interactions yet, so its
    popularity counts as none until the next training.

    \b
      twotower refresh build/mine/bundle/mine --candidates new_books.csv
      twotower refresh build/mine/bundle/mine --withdraw sold_out.txt
      twotower refresh build/mine/bundle/mine --candidates all_books.csv --replace
    """  # noqa: D301  (click reads the control character)
    if candidates is None and withdraw is None:
        raise typer.BadParameter("give --candidates, --withdraw, or both.")
    if replace and candidates is None:
        raise typer.BadParameter("needs --candidates, the whole corpus.", param_hint="--replace")
    from pipelines.cli.reporting import make_reporter
    from pipelines.stages.refresh import run

    refreshed = run(bundle, candidates, withdraw, replace=replace, reporter=make_reporter())
    if json_output:
        print_json(
            {
                "bundles": [
                    {
                        "directory": str(one.written.directory),
                        "version": one.written.version,
                        "candidates": len(one.changes.ids),
                        "added": one.changes.num_added,
                        "changed": one.changes.num_changed,
                        "withdrawn": one.changes.num_withdrawn,
                    }
                    for one in refreshed
                ]
            }
        )


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(short_help="Change a bundle's candidates without training.")(refresh)
