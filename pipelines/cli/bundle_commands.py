"""Commands that ask one bundle: `query`, `preflight`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import arguments

if TYPE_CHECKING:
    from serving.bundle.query import Answer
    from tfrs_twotower.data.known_queries import KnownQuery

_Bundle = Annotated[Path, arguments.BUNDLE_ARGUMENT]


def query(
    bundle: _Bundle,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FEATURE=VALUE",
            help="A query feature; `|` separates several values of one feature. A time is written "
            "as in the tables, as ISO 8601, or in seconds since 1970. Features that are not given "
            "are those of --query-id, or missing.",
        ),
    ] = None,
    query_id: Annotated[
        str | None,
        typer.Option(
            "--query-id",
            metavar="ID",
            help="A query of the working directory: its features, its history over all events so "
            "far, and, where split.new_pairs_only says so, without the candidates that it has "
            "seen. Its time is now.",
        ),
    ] = None,
    workdir: Annotated[
        Path | None,
        typer.Option(
            "--workdir",
            "-w",
            show_default=False,
            help="Working directory of --query-id; by default the one that the bundle stands in.",
        ),
    ] = None,
    similar: Annotated[
        str | None,
        typer.Option(
            "--similar",
            metavar="ID",
            help="Instead of a query: the candidates most like this one, by the cosine of the "
            "bundle's own vectors.",
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
    json_output: Annotated[bool, arguments.JSON_OPTION] = False,
) -> None:
    """Answer one query from an exported bundle, or list the neighbours of a candidate.

    A history is a list of candidate ids, most recent first. Candidates of the history may be in the
    answer: leave them out with --exclude; --query-id does so by itself. An id that no candidate has
    is said on standard error.

    \b
      twotower query build/mine/bundle/mine --query-id K00001
      twotower query build/mine/bundle/mine --set town=Oslo --k 10
      twotower query build/mine/bundle/mine --set "history=B-7|B-3" --exclude B-7 --exclude B-3
      twotower query build/mine/bundle/mine --allow genres=Comedy --allow genres=Drama
      twotower query build/mine/bundle/mine --similar B-7
    """  # noqa: D301  (click reads the control character)
    if similar is not None:
        _refuse_beside_similar(
            {"--set": values, "--query-id": query_id, "--allow": allow, "--deny": deny}
        )
    if workdir is not None and query_id is None:
        raise typer.BadParameter("is only for --query-id.", param_hint="--workdir")
    features = _features(values)
    excluded = [one.strip() for one in arguments.typed_texts(exclude, "--exclude")]
    restricts = arguments.typed_texts(allow, "--allow"), arguments.typed_texts(deny, "--deny")
    arguments.expect_bundle(bundle)
    if similar is not None:
        from serving.bundle.similar import similar_candidates

        (candidate_id,) = arguments.typed_texts([similar], "--similar")
        response = similar_candidates(bundle, candidate_id.strip(), k, excluded)
    else:
        known = None
        if query_id is not None:
            known = _read_known_query(
                bundle, workdir, *arguments.typed_texts([query_id], "--query-id")
            )
        from serving import load_bundle
        from serving.bundle.query import ask

        response = ask(load_bundle(bundle), features, k, excluded, *restricts, known)
    _print_answer(response, json_output=json_output)


def _read_known_query(bundle: Path, workdir: Path | None, query_id: str) -> "KnownQuery":
    from serving.bundle.versions import workdir_of
    from tfrs_twotower.data.known_queries import read_known_query

    return read_known_query(workdir_of(bundle) if workdir is None else workdir, query_id.strip())


def _refuse_beside_similar(options: Mapping[str, object]) -> None:
    for option, value in options.items():
        if value:
            raise typer.BadParameter("cannot be given with --similar.", param_hint=option)


def _features(values: list[str] | None) -> dict[str, str]:
    features = {}
    for value in arguments.typed_texts(values, "--set"):
        name, equals, content = value.partition("=")
        if not equals:
            raise typer.BadParameter(f"'{value}': expected feature=value", param_hint="--set")
        features[name] = content
    return features


def _print_answer(answer: "Answer", *, json_output: bool) -> None:
    """Prints what is wrong with given ids on standard error, and the list with its titles."""
    from dataclasses import asdict

    from tfrs_twotower.data.lines import shown

    for warning in answer.warnings:
        typer.echo(f"twotower: {shown(warning)}", err=True)
    if json_output:
        fields = asdict(answer)
        arguments.print_json(
            {key: fields[key] for key in ("candidate_ids", "scores", "model_version")}
        )
        return
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column("rank", justify="right")
    table.add_column("candidate", no_wrap=True)
    table.add_column("score", justify="right")
    table.add_column("title")
    rows = zip(answer.candidate_ids, answer.scores, answer.titles, strict=True)
    for rank, (candidate_id, score, title) in enumerate(rows, 1):
        table.add_row(str(rank), shown(candidate_id), f"{score:.4f}", shown(title))
    console = arguments.output_console()
    console.print(table)
    console.print(f"model version {answer.model_version}")


def preflight(
    bundle: _Bundle,
    server: Annotated[
        str,
        typer.Option(
            help="`stock` TF Serving, one built with ScaNN's ops (`scann`), or a process that has "
            "only TensorFlow (`tensorflow`)."
        ),
    ] = "stock",
    json_output: Annotated[bool, arguments.JSON_OPTION] = False,
) -> None:
    """Check from the operations in its graph whether a server can load a bundle, and safely.

    Exit code 0 if it can; 1 if the server lacks operations, or if the graph reaches files, networks
    or Python beside its own variables and assets, with the server's rights; the command names the
    operations. It also names what a Python process has to import before it loads the bundle.

    \b
      twotower preflight build/mine/bundle/mine --server stock
      twotower preflight build/mine/bundle/mine --server tensorflow
    """  # noqa: D301  (click reads the control character)
    arguments.expect_bundle(bundle)
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
        arguments.print_json(
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
