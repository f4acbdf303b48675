"""Commands for endpoints: `serve`, `recall-check`, `load-test`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli.arguments import JSON_OPTION, expect_bundle, expect_files, print_json

_Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        show_default=False,
        help="Endpoint: grpc://HOST:PORT/MODEL or http://HOST:PORT/MODEL; grpcs and https encrypt.",
    ),
]


def _file(option: str, text: str) -> Any:
    return typer.Option(option, metavar="FILE", show_default=False, help=text)


_TlsCa = Annotated[
    Path | None,
    _file(
        "--tls-ca",
        "Certificates (PEM) of the authorities to trust, for grpcs:// and https://; by default the "
        "public ones.",
    ),
]
_TlsCertificate = Annotated[
    Path | None,
    _file("--tls-cert", "The client's own certificate (PEM), for a server that asks for one."),
]
_TlsKey = Annotated[
    Path | None, _file("--tls-key", "The key (PEM, no password) of the client's certificate.")
]


def serve(
    model_dir: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL_DIR",
            show_default=False,
            help="Bundle directory, WORKDIR/bundle/NAME, or a directory of several. The bundle's "
            "models.config says which version is served.",
        ),
    ] = None,
    grpc_port: Annotated[
        int, typer.Option(min=0, max=65535, help="gRPC port; 0 chooses a free one.")
    ] = 8500,
    rest_port: Annotated[
        int, typer.Option(min=0, max=65535, help="REST port; 0 chooses a free one.")
    ] = 8501,
    model_config_file: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="Instead of MODEL_DIR: a ModelServerConfig with several models, version policies "
            "and labels. The server reads it again when it changes.",
        ),
    ] = None,
    batching: Annotated[
        bool, typer.Option(help="Batch requests as in batching_params.pbtxt.")
    ] = True,
) -> None:
    """Serve bundles on this machine with TensorFlow Serving's two APIs.

    For development and tests; in production use TensorFlow Serving, which loads the same bundles
    and answers many times as many requests. The server listens on this machine only. It loads new
    versions as they appear, without a failed request; it refuses a damaged version and continues
    with the last good one. Ctrl-C or SIGTERM ends it after the requests in progress. When it is
    ready it prints an example request.

    \b
      twotower serve build/mine/bundle/mine
      curl localhost:8501/v1/models/mine             versions that serve or were refused
      curl localhost:8501/v1/models/mine/metadata    signatures and their inputs
      curl localhost:8501/v1/models/mine:predict -d '{"instances": [{...}]}'
      curl localhost:8501/monitoring/prometheus/metrics
    """  # noqa: D301  (click reads the control character)
    import logging

    if (model_dir is None) == (model_config_file is None):
        raise typer.BadParameter(
            "give either a directory or --model-config-file", param_hint="MODEL_DIR"
        )
    expect_files(model_config_file)
    from serving.server.models import from_config_file, from_directory, read_models

    if model_config_file is not None:
        source = from_config_file(model_config_file)
    else:
        assert model_dir is not None
        source = from_directory(model_dir)
    read_models(source())  # what cannot be served is said before TensorFlow is loaded
    from serving.server.local_server import ServerOptions
    from serving.server.local_server import serve as run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    run(ServerOptions(source, grpc_port, rest_port, batching), typer.echo)


def recall_check(
    target: _Target,
    bundle: Annotated[
        Path,
        typer.Option(
            help="The bundle that the endpoint loads, on this machine; it must hold the "
            "endpoint's version."
        ),
    ],
    queries: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="JSON objects of feature values (one a line, or an array), or a `preprocessed` "
            "directory, whose test queries are replayed; by default that of the bundle's working "
            "directory.",
        ),
    ] = None,
    num_queries: Annotated[
        int, typer.Option(min=1, help="Largest number of queries to replay.")
    ] = 200,
    min_overlap: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            show_default=False,
            help="Smallest overlap, on the queries and on perturbed ones; below it the exit code "
            "is 1. By default the bundle's "
            "`index.target_overlap`.",
        ),
    ] = None,
    textfile: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="Also write a file for Prometheus' textfile collector, in one step; `-` prints "
            "it instead of the usual line.",
        ),
    ] = None,
    tls_ca: _TlsCa = None,
    tls_cert: _TlsCertificate = None,
    tls_key: _TlsKey = None,
    json_output: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Replay sampled queries against a live endpoint and an exact search; print their overlap.

    Perturbed queries are replayed too (histories of random candidates, features shuffled among the
    queries), because an index finds less for queries that it was not tuned on. Answers that tie
    with the last exact one count as found.

    Exit code 0 if the overlap is large enough; 1 if it is not, if the endpoint serves a version
    that the bundle does not have, or if there are no queries; 2 if the endpoint cannot be reached.
    The textfile is written only if the overlap was measured, so monitor its timestamp.

    \b
      twotower recall-check grpc://localhost:8500/mine --bundle build/mine/bundle/mine
      twotower recall-check grpc://localhost:8500/mine --bundle build/mine/bundle/mine \\
          --queries queries.jsonl --textfile /var/lib/node_exporter/mine.prom
    """  # noqa: D301  (click reads the control character)
    prints_textfile = textfile == Path("-")
    if prints_textfile and json_output:
        raise typer.BadParameter("`-` and --json both print; give one", param_hint="--textfile")
    _expect_target(target)
    expect_bundle(bundle)
    expect_files(queries)
    import time
    from dataclasses import asdict

    from serving.client.recall_check import check_recall, prometheus_text
    from serving.client.tls import Tls
    from tfrs_twotower.artifacts import replace_file

    check = check_recall(target, bundle, queries, num_queries, Tls(tls_ca, tls_cert, tls_key))
    required = check.target_overlap if min_overlap is None else min_overlap
    text = prometheus_text(check, time.time())
    if prints_textfile:
        typer.echo(text, nl=False)
    elif textfile is not None:
        replace_file(textfile, text)
    if json_output:
        passed = check.least_overlap >= required
        print_json({**asdict(check), "min_overlap": required, "passed": passed})
    elif not prints_textfile:
        typer.echo(
            f"{check.model} {check.model_version}: overlap@{check.k} {check.overlap:.4f} with "
            f"exact search over {check.num_queries} queries (worst tenth {check.worst_decile:.4f}, "
            f"worst {check.worst_overlap:.4f}); {check.perturbed_overlap:.4f} over as many "
            f"perturbed ones (worst tenth {check.perturbed_worst_decile:.4f}); at least "
            f"{required:.4f} is required of both"
        )
    if check.least_overlap < required:
        raise typer.Exit(1)


def load_test(
    target: _Target,
    queries: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="JSON objects of feature values (one a line, or an array), or a `preprocessed` "
            "directory, whose test queries are replayed.",
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
    users: Annotated[int, typer.Option(min=1, help="Users that send at the same time.")] = 8,
    duration: Annotated[float, typer.Option(min=1.0, help="Length in seconds.")] = 30.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Queries in a request.")] = 1,
    signature: Annotated[str, typer.Option(help="Signature to call.")] = "serving_default",
    report: Annotated[
        Path | None, typer.Option(show_default=False, help="Also write locust's HTML report.")
    ] = None,
    tls_ca: _TlsCa = None,
    tls_cert: _TlsCertificate = None,
    tls_key: _TlsKey = None,
    json_output: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Let many users send requests to an endpoint; report latency, throughput and errors.

    Each user sends the next request when it has its answer. Exit code 2 if no request was answered.

    \b
      twotower load-test grpc://localhost:8500/mine --queries build/mine/preprocessed
      twotower load-test http://localhost:8501/mine --bundle build/mine/bundle/mine --users 32
    """  # noqa: D301  (click reads the control character)
    if (queries is None) == (bundle is None):
        raise typer.BadParameter("give either --queries or --bundle", param_hint="--queries")
    _expect_target(target)
    if bundle is not None:
        expect_bundle(bundle)
    expect_files(queries)
    from dataclasses import asdict

    from serving.client.tls import Tls
    from serving.load_test.measurement import from_queries, run_load_test

    tls = Tls(tls_ca, tls_cert, tls_key)
    if queries is not None:
        requests = from_queries(target, queries, signature, batch_size, tls)
    else:
        from serving.bundle.warm_up import read_warmup_requests

        assert bundle is not None
        requests = read_warmup_requests(bundle, signature, batch_size)
    test = run_load_test(
        target, signature, requests, users=users, duration_s=duration, report=report, tls=tls
    )
    if json_output:
        print_json(asdict(test))
    else:
        typer.echo("\n".join(test.lines()))


def _expect_target(target: str) -> None:
    """Checks the form of a target before anything is loaded."""
    from serving.client.endpoint import parse_target

    parse_target(target)


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(short_help="Serve bundles on this machine, to develop and test.")(serve)
    app.command(short_help="Compare a live endpoint with an exact search.")(recall_check)
    app.command(short_help="Measure an endpoint's latency and throughput.")(load_test)
