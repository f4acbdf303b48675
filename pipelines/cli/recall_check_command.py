"""`twotower recall-check`: whether a live endpoint still finds what exact search finds."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.running import JSON_OPTION, print_json


def recall_check(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            show_default=False,
            help="Endpoint: grpc://HOST:PORT/MODEL or http://HOST:PORT/MODEL.",
        ),
    ],
    bundle: Annotated[
        Path,
        typer.Option(
            help="The bundle that the endpoint loads, on this machine; the version that the "
            "endpoint answers with must be in it."
        ),
    ],
    queries: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="JSONL file of feature values, or a `preprocessed` directory, whose test queries "
            "are replayed; by default that of the bundle's working directory.",
        ),
    ] = None,
    num_queries: Annotated[int, typer.Option(min=1, help="Queries to replay, at most.")] = 200,
    min_overlap: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            show_default=False,
            help="Exit with 1 below it; by default `index.target_overlap` of the bundle.",
        ),
    ] = None,
    textfile: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="Also write a file for Prometheus' textfile collector, in one step; `-` prints "
            "it instead of the line for people.",
        ),
    ] = None,
    json_output: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Replay sampled queries against a live endpoint and an exact search; print their overlap.

    Exit code 0 if the overlap is large enough; 1 if it is not, if the endpoint serves a version
    that is not in the bundle, or if there are no queries; 2 if the endpoint cannot be asked. The
    textfile is written only if the overlap could be measured, so watch its timestamp.

    \b
      twotower recall-check grpc://localhost:8500/mine --bundle build/mine/bundle/mine
      twotower recall-check grpc://localhost:8500/mine --bundle build/mine/bundle/mine \\
          --queries queries.jsonl --textfile /var/lib/node_exporter/mine.prom
    """  # noqa: D301  (click reads the control character)
    printed = textfile == Path("-")
    if printed and json_output:
        raise typer.BadParameter("`-` and --json both print; give one", param_hint="--textfile")
    import time
    from dataclasses import asdict

    from serving.recall_check import check_recall, prometheus_text
    from tfrs_twotower.artifacts import replace_file

    found = check_recall(target, bundle, queries, num_queries)
    least = found.target_overlap if min_overlap is None else min_overlap
    text = prometheus_text(found, time.time())
    if printed:
        typer.echo(text, nl=False)
    elif textfile is not None:
        replace_file(textfile, text)
    if json_output:
        print_json({**asdict(found), "min_overlap": least, "passed": found.overlap >= least})
    elif not printed:
        typer.echo(
            f"{found.model} {found.model_version}: overlap@{found.k} {found.overlap:.4f} with "
            f"exact search over {found.num_queries} queries (worst {found.worst_overlap:.4f}; at "
            f"least {least:.4f} is wanted)"
        )
    if found.overlap < least:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(short_help="Whether a live endpoint still finds enough.")(recall_check)
