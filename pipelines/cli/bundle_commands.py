"""Commands that ask one bundle: `query`, `preflight`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.arguments import (
    JSON_OPTION,
    output_console,
    print_json,
    typed_texts,
)

_Bundle = Annotated[
    Path,
    typer.Argument(
        metavar="BUNDLE",
        show_default=False,
        help="Bundle directory, WORKDIR/bundle/NAME (its served version), or one version in it.",
    ),
]


def query(
    bundle: _Bundle,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FEATURE=VALUE",
            help="A query feature; `|` separates several values of one feature. Features that are "
            "not given are missing.",
        ),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option("--k", min=1, help="Length of the answer; by default the bundle's k."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="Candidate id to leave out; repeatable.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow",
            metavar="FEATURE=VALUE",
            help="Only candidates with this value, or with another allowed value of the feature; "
            "repeatable. export.restricts must list the feature.",
        ),
    ] = None,
    deny: Annotated[
        list[str] | None,
        typer.Option(
            "--deny", metavar="FEATURE=VALUE", help="No candidates with this value; repeatable."
        ),
    ] = None,
    json_output: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Answer one query from an exported bundle.

    A history is a list of candidate ids, most recent first. Candidates of the history may be in the
    answer: leave them out with --exclude.

    \b
      twotower query build/mine/bundle/mine --set town=Oslo --k 10
      twotower query build/mine/bundle/mine --set "history=B-7|B-3" --exclude B-7 --exclude B-3
      twotower query build/mine/bundle/mine --allow genres=Comedy --allow genres=Drama
    """  # noqa: D301  (click reads the control character)
    from dataclasses import asdict

    from serving import load_bundle
    from serving.bundle.query import ask
    from tfrs_twotower.data.lines import shown

    features: dict[str, str] = {}
    for value in typed_texts(values, "--set"):
        name, equals, content = value.partition("=")
        if not equals:
            raise typer.BadParameter(f"'{value}': expected feature=value", param_hint="--set")
        features[name] = content
    excluded = [one.strip() for one in typed_texts(exclude, "--exclude")]
    restricts = typed_texts(allow, "--allow"), typed_texts(deny, "--deny")
    response = ask(load_bundle(bundle), features, k, excluded, *restricts)
    if json_output:
        fields = asdict(response)
        print_json({key: fields[key] for key in ("candidate_ids", "scores", "model_version")})
        return
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column("rank", justify="right")
    table.add_column("candidate", no_wrap=True)
    table.add_column("score", justify="right")
    table.add_column("title")
    rows = zip(response.candidate_ids, response.scores, response.titles, strict=True)
    for rank, (candidate_id, score, title) in enumerate(rows, 1):
        table.add_row(str(rank), shown(candidate_id), f"{score:.4f}", shown(title))
    console = output_console()
    console.print(table)
    console.print(f"model version {response.model_version}")


def preflight(
    bundle: _Bundle,
    server: Annotated[
        str,
        typer.Option(
            help="`stock` TF Serving, one built with ScaNN's ops (`scann`), or a process that has "
            "only TensorFlow (`tensorflow`)."
        ),
    ] = "stock",
    json_output: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Check from the operations in its graph whether a server can load a bundle, and safely.

    Exit code 0 if it can; 1 if the server lacks operations, or if the graph reaches files, networks
    or Python beside its own variables and assets, with the server's rights; the command names the
    operations. It also names what a Python process has to import before it loads the bundle.

    \b
      twotower preflight build/mine/bundle/mine --server stock
      twotower preflight build/mine/bundle/mine --server tensorflow
    """  # noqa: D301  (click reads the control character)
    from serving.bundle.file_ops import file_access
    from serving.bundle.server_ops import SERVERS, check_bundle, python_imports, way_out
    from tfrs_twotower.data.lines import shown

    if server not in SERVERS:
        raise typer.BadParameter(
            f"'{server}': expected {', '.join(SERVERS)}", param_hint="--server"
        )
    missing = check_bundle(bundle, server)
    imports = python_imports(bundle)
    accesses = [str(access) for access in file_access(bundle)]
    loader = "TensorFlow alone" if server == "tensorflow" else f"a {server} TF Serving"
    if json_output:
        print_json(
            {
                "server": server,
                "loads": not missing,
                "missing_ops": list(missing),
                "python_imports": list(imports),
                "file_access": accesses,
            }
        )
    elif missing:
        typer.echo(
            f"{bundle}: {loader} cannot load it: missing {', '.join(missing)}. "
            f"{way_out(missing, server)}",
            err=True,
        )
    else:
        typer.echo(f"{bundle}: {loader} can load it.")
        if imports:
            typer.echo(f"A Python process imports {' and '.join(imports)} before it loads it.")
    if accesses and not json_output:
        typer.echo(
            f"{bundle}: its graph reaches files, networks or Python outside of the bundle, with "
            f"the rights of whoever loads it: {shown(', '.join(accesses))}. Serve it only if you "
            "know what these are for; or export it from towers without them.",
            err=True,
        )
    if missing or accesses:
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(short_help="Answer a query from an exported bundle.")(query)
    app.command(short_help="Check whether a model server can load a bundle.")(preflight)
