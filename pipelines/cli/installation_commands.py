"""Commands about what is installed: `files`, `doctor`, `build-ops`."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.arguments import JSON_OPTION, print_json


def files(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WORD]...",
            help="Parts of paths, such as movielens_100k or docker; by default all files.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Directory to copy them to; without it they are only listed."
        ),
    ] = None,
    json_output: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """List or copy the files that come with the package, to read or to change them.

    They are the feature specs and run configs of public data sets, JSON Schemas, and container and
    Kubernetes files. Copies keep the paths that are listed, so that a run config finds its spec.
    Nothing that is there already is overwritten.

    \b
      twotower files
      twotower files movielens_100k docker --out .
      twotower run pipelines/configs/movielens_100k.yaml --workdir build/ml
    """  # noqa: D301  (click reads the control character)
    from pipelines.shipped_files import copy_shipped_files, shipped_files

    if out is None:
        paths = list(shipped_files(words or ()))
    else:
        paths = [str(path) for path in copy_shipped_files(words or (), out)]
    if json_output:
        print_json({"files": paths})
    else:
        typer.echo("\n".join(paths))


def doctor(json_output: Annotated[bool, JSON_OPTION] = False) -> None:
    """Check versions, extras, Keras 2, the match of ScaNN and TensorFlow, AVX2 and op libraries.

    Says what each extra brings, whether it is installed, and how to install it. Exit code 0 if
    everything that is installed works, 2 if something does not; the command prints each fix.
    """
    from dataclasses import asdict

    from pipelines.doctor import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if json_output:
            continue
        mark = "--   " if finding.to_get else "ok   " if finding.healthy else "WRONG"
        typer.echo(f"{mark} {finding.subject}: {finding.state}")
        if not finding.healthy:
            typer.echo(f"      fix: {finding.fix}")
        elif finding.to_get:
            typer.echo(f"      to get it: {finding.to_get}")
    healthy = all(finding.healthy for finding in findings)
    if json_output:
        print_json({"healthy": healthy, "findings": [asdict(f) for f in findings]})
    if not healthy:
        raise typer.Exit(2)


def build_ops(
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Also copies the library to this file, for a server."),
    ] = None,
    json_output: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Compile the project's own operations, which `export.fused_ops: true` needs.

    They are C++ sources, compiled against the installed TensorFlow by GCC 12 or later, into
    ~/.cache/tfrs_twotower/ops (XDG_CACHE_HOME moves it). What has been compiled is taken as it is.
    """
    import shutil

    from serving.ops import library

    path = library.build()
    library.load()
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out)
    if json_output:
        print_json({"library": str(path)})
    else:
        typer.echo(f"compiled and loaded: {path}")


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(short_help="List or copy the specs, configs and container files.")(files)
    app.command(short_help="Check this environment, and print fixes.")(doctor)
    app.command("build-ops", short_help="Compile the fused second stage.")(build_ops)
