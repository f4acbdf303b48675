"""`twotower rollback`: an earlier version of a bundle is served."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.running import JSON_OPTION, SHARDED_BUNDLE_ARGUMENT, print_json


def rollback(
    bundle: Annotated[Path, SHARDED_BUNDLE_ARGUMENT],
    version: Annotated[
        int | None,
        typer.Option(
            "--to", metavar="VERSION", help="By default the latest one before the served one."
        ),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Serve the newest version again.")] = False,
    json_output: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Serve an earlier version of a bundle, or the newest again.

    Checks the version's files and points models.config at it. A TF Serving that was started with
    --model_config_file=.../models.config and --model_config_file_poll_wait_seconds=30 loads that
    version within 30 seconds and then unloads the other, without a failed request; one that does
    not poll is told by ModelService.HandleReloadConfigRequest, or restarted. The next export or
    refresh is served again as soon as it is published.

    \b
      twotower rollback build/mine/bundle/mine
      twotower rollback build/mine/bundle/mine --to 1732159297
      twotower rollback build/mine/bundle/mine --undo
    """  # noqa: D301  (click reads the control character)
    from serving.rollback import roll_back, undo_rollback

    if undo and version is not None:
        raise typer.BadParameter("cannot be given with --to.", param_hint="--undo")
    served = undo_rollback(bundle) if undo else roll_back(bundle, version)
    if json_output:
        print_json({"bundle": str(bundle), "served_version": served})
    else:
        typer.echo(f"{bundle}: models.config serves version {served}.")


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(short_help="Serve an earlier version of a bundle.")(rollback)
