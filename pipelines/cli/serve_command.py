"""`twotower serve`: a local server of bundles, for development and tests.

Production is TensorFlow Serving, which loads the same bundles; `serving/docker/` starts it.
"""

from pathlib import Path
from typing import Annotated

import typer


def serve(
    model_dir: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL_DIR",
            show_default=False,
            help="Bundle directory, WORKDIR/bundle/NAME, or a directory of several. Which version "
            "is served says the bundle's models.config.",
        ),
    ] = None,
    grpc_port: Annotated[
        int, typer.Option(min=0, max=65535, help="gRPC port; 0 is a free one.")
    ] = 8500,
    rest_port: Annotated[
        int, typer.Option(min=0, max=65535, help="REST port; 0 is a free one.")
    ] = 8501,
    model_config_file: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="Instead of MODEL_DIR: a ModelServerConfig with several models, version policies "
            "and labels. It is read again when it changes.",
        ),
    ] = None,
    batching: Annotated[
        bool, typer.Option(help="Put requests together as batching_params.pbtxt says.")
    ] = True,
) -> None:
    """Serve bundles on this machine with TensorFlow Serving's two APIs.

    For development and tests: production is TensorFlow Serving, which loads the same bundles and
    answers many times as many requests. It listens on this machine only. New versions are loaded
    as they appear, without a failed request; a damaged one is refused, and the last good one goes
    on. Ctrl-C or SIGTERM ends it, after the requests that are under way. When it is ready it
    prints a request to start from.

    \b
      twotower serve build/mine/bundle/mine
      curl localhost:8501/v1/models/mine             which versions serve, which are refused
      curl localhost:8501/v1/models/mine/metadata    signatures and their inputs
      curl localhost:8501/v1/models/mine:predict -d '{"instances": [{...}]}'
      curl localhost:8501/monitoring/prometheus/metrics
    """  # noqa: D301  (click reads the control character)
    import logging

    from tfrs_twotower.errors import UnsupportedEnvironment

    if (model_dir is None) == (model_config_file is None):
        raise typer.BadParameter(
            "give either a directory or --model-config-file", param_hint="MODEL_DIR"
        )
    try:
        from serving.server.local_server import ServerOptions
        from serving.server.local_server import serve as run
        from serving.server.model_source import from_config_file, from_directory
    except ModuleNotFoundError as cause:
        raise UnsupportedEnvironment(
            f"{cause.name} is not installed, and serving needs it: "
            "`pip install 'tfrs-twotower[serve]'`."
        ) from cause
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if model_config_file is not None:
        source = from_config_file(model_config_file)
    else:
        assert model_dir is not None
        source = from_directory(model_dir)
    run(ServerOptions(source, grpc_port, rest_port, batching), typer.echo)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(short_help="Serve bundles on this machine, for development and tests.")(serve)
