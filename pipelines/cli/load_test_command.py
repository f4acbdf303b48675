"""`twotower load-test`: how much an endpoint answers, and how fast."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.running import JSON_OPTION, print_json


def load_test(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            show_default=False,
            help="Endpoint: grpc://HOST:PORT/MODEL or http://HOST:PORT/MODEL.",
        ),
    ],
    queries: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="JSONL file of feature values, or a `preprocessed` directory, whose test queries "
            "are replayed.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="Instead of --queries: a bundle whose warm-up requests are replayed. They are "
            "blank, so they cost less than real ones.",
        ),
    ] = None,
    users: Annotated[int, typer.Option(min=1, help="Users that ask at the same time.")] = 8,
    duration: Annotated[float, typer.Option(min=1.0, help="Seconds.")] = 30.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Queries in a request.")] = 1,
    signature: Annotated[str, typer.Option(help="Signature to ask.")] = "serving_default",
    report: Annotated[
        Path | None, typer.Option(show_default=False, help="Also write an HTML page.")
    ] = None,
    json_output: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Let many users ask an endpoint, and report latency, throughput and errors.

    Each user sends the next request when it has its answer. Exit code 2 if nothing was answered.

    \b
      twotower load-test grpc://localhost:8500/mine --queries build/mine/preprocessed
      twotower load-test http://localhost:8501/mine --bundle build/mine/bundle/mine --users 32
    """  # noqa: D301  (click reads the control character)
    if (queries is None) == (bundle is None):
        raise typer.BadParameter("give either --queries or --bundle", param_hint="--queries")
    from dataclasses import asdict

    from serving.load_test.page import figures, load_test_page
    from serving.load_test.prepared import from_queries, from_warmup
    from serving.load_test.running import check_locust, run_load_test

    check_locust()
    if queries is not None:
        requests = from_queries(target, queries, signature, batch_size)
    else:
        assert bundle is not None
        requests = from_warmup(bundle, signature, batch_size)
    found = run_load_test(target, signature, requests, users=users, duration_s=duration)
    if json_output:
        shown = asdict(found)
        del shown["milliseconds"]
        print_json(shown)
    else:
        for name, value in figures(found):
            typer.echo(f"{name:<18} {value}")
        for error, count in sorted(found.errors.items()):
            typer.echo(f"error, {count:,} times: {error}")
    if report is not None:
        report.write_text(load_test_page(found), encoding="utf-8")


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(short_help="How much an endpoint answers, and how fast.")(load_test)
