"""Commands to begin with: `demo`, `init`, `dataset`, `import-embeddings`."""

import json
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from pipelines.cli import arguments
from tfrs_twotower.environment import require_extra

_DATASET = "movielens-100k"
_SYNTHETIC = "synthetic"
_CONFIG = Path("movielens_100k")


def demo(
    workdir: Annotated[
        Path, typer.Option("--workdir", "-w", help="Directory for the data and all artifacts.")
    ] = Path("build/demo"),
    source: Annotated[
        Path | None,
        typer.Option(
            "--source",
            metavar="PATH",
            help="MovieLens-100k, instead of a download: GroupLens' archive, or its directory.",
        ),
    ] = None,
    overrides: Annotated[list[str] | None, arguments.SET_OPTION] = None,
) -> None:
    """Train, index, export and evaluate MovieLens-100k; then recommend ten films to one user."""
    require_extra("pipelines", "apache_beam", "jinja2", "pandas", needed_by="the demo")
    from pipelines.cli.arguments import make_context
    from pipelines.cli.printing import (
        print_bundle_agreement,
        print_leaderboard,
        print_recommendations,
    )
    from pipelines.cli.reporting import make_reporter
    from pipelines.datasets.fetch import prepare
    from pipelines.stages.sequence import STAGES, run_stages

    data = (workdir / "data").resolve()
    prepare(_DATASET, data, source, make_reporter())
    context = make_context(
        _CONFIG, workdir, (f"data_root={json.dumps(str(data))}", *(overrides or ()))
    )
    run_stages(context, STAGES)
    print_leaderboard(context.layout)
    print_recommendations(context)
    print_bundle_agreement(context)
    typer.echo(f"\nReport: {context.layout.report / 'index.html'}")


def init(
    interactions: Annotated[
        Path,
        typer.Option(
            help="Table of events (who chose what, and when): CSV, TSV, JSONL or Parquet, a "
            "directory of them, or a glob."
        ),
    ],
    candidates: Annotated[Path, typer.Option(help="Table of items to recommend or find.")],
    queries: Annotated[
        Path | None, typer.Option(help="Table of users or queries, if there is one.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory for the two files.")] = Path(),
    name: Annotated[
        str | None,
        typer.Option(help="Name of the data set; by default that of the interactions' directory."),
    ] = None,
    date_order: Annotated[
        Literal["dmy", "mdy"] | None,
        typer.Option(
            help="Whether the day or the month is first in dates such as 03/04/2025, where the "
            "tables do not show it."
        ),
    ] = None,
    json_output: Annotated[bool, arguments.JSON_OPTION] = False,
) -> None:
    """Write a first feature spec and run config from your tables; read them, then run.

    Columns may have any names; a comment explains each choice. The interactions need the ids of
    both sides; without a column of times (or one that names the split) they are in the order of the
    file. Personal data (e-mail addresses, names, streets, phone numbers) becomes neither a feature
    nor a title.

    \b
      twotower init --interactions loans.csv --candidates books.csv \\
          --queries readers.csv --out mine --name library
    """  # noqa: D301  (click reads the control character)
    arguments.expect_files(interactions, candidates, queries)
    from pipelines.init_spec.first_spec import write_first_spec

    spec, run = write_first_spec(interactions, candidates, queries, out, name, date_order)
    if json_output:
        arguments.print_json({"spec": str(spec), "run": str(run)})
    else:
        typer.echo(f"Feature spec: {spec}\nRun config:   {run}")
        workdir = Path("build") / run.stem.removesuffix("_run")
        typer.echo(f"Next: read both, then `twotower run {quote(str(run))} --workdir {workdir}`.")


def dataset(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Name of the data set; `list` shows all names.", show_default=False
        ),
    ],
    beam_options: Annotated[list[str] | None, arguments.BEAM_ARGUMENT] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Data root, in which the data set gets a directory.")
    ] = Path("data"),
    source: Annotated[
        Path | None,
        typer.Option(
            "--source",
            metavar="PATH",
            help="The original files: the publisher's zip archive or workbook, or a directory with "
            "the files unpacked.",
        ),
    ] = None,
    interactions: Annotated[
        int | None, typer.Option(help="Of `synthetic`: number of events.", show_default=False)
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Of `synthetic`: size of the corpus.", show_default=False)
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(help="Of `synthetic`: number of users; by default one for every 20 events."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of `synthetic`: seed of all draws; by default 0.")
    ] = None,
    json_output: Annotated[bool, arguments.JSON_OPTION] = False,
) -> None:
    """Fetch a public data set and convert it to the tables of its feature spec, or make one up.

    `synthetic` plants clusters, popularity by Zipf's law and changing tastes in tables of any size;
    one seed always gives the same bytes. It is made by Beam, so it takes Beam's options.

    \b
      twotower dataset list
      twotower dataset movielens-100k --out data
      twotower dataset online-retail --source online+retail.zip --out data
      twotower run movielens_100k --workdir build/ml
      twotower dataset synthetic --interactions 200000 --candidates 10000 --out data
      twotower run synthetic --workdir build/synthetic
    """  # noqa: D301  (click reads the control character)
    from pipelines.cli.reporting import make_reporter
    from pipelines.datasets.fetch import dataset_names, prepare

    if name == "list":
        for known in (*dataset_names(), _SYNTHETIC):
            typer.echo(known)
        return
    sizes = {
        "--interactions": interactions, "--candidates": candidates, "--queries": queries,
        "--seed": seed,
    }  # fmt: skip
    if name == _SYNTHETIC:
        if interactions is None or candidates is None:
            raise typer.BadParameter(
                "needs --interactions and --candidates.", param_hint=_SYNTHETIC
            )
        if source is not None:
            raise typer.BadParameter("synthetic has no source.", param_hint="--source")
        from pipelines.stages.synthetic import make_synthetic

        directory = make_synthetic(
            out,
            interactions=interactions,
            candidates=candidates,
            queries=queries,
            seed=seed or 0,
            reporter=make_reporter(),
            beam_options=beam_options or (),
        )
    else:
        for option, value in {**sizes, "-- BEAM_OPTIONS": beam_options or None}.items():
            if value is not None:
                raise typer.BadParameter("is only for the data set synthetic.", param_hint=option)
        directory = prepare(name, out, source, make_reporter())
    if json_output:
        arguments.print_json({"dataset": name, "directory": str(directory)})
    else:
        typer.echo(f"{name} is in {directory}")


def import_embeddings(
    candidates: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Parquet with the columns id (text), embedding (list of float32), and perhaps "
            "title.",
        ),
    ],
    workdir: Annotated[Path, arguments.WORKDIR_OPTION],
    name: Annotated[str, typer.Option(help="Name of the bundle.")],
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The same of real queries; an approximate index is measured on them.",
        ),
    ] = None,
    judgements: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Parquet, CSV or TSV with query_id, candidate_id and perhaps gain; with it there "
            "is a report.",
        ),
    ] = None,
    overrides: Annotated[list[str] | None, arguments.SET_OPTION] = None,
    json_output: Annotated[bool, arguments.JSON_OPTION] = False,
) -> None:
    """Turn vectors made elsewhere into an index, an evaluation and a bundle.

    A score is the inner product of two vectors; nothing is normalised. The bundle takes a query's
    vector, as the input `embedding`. `--set` changes the sections index, export and evaluate.

    \b
      twotower import-embeddings --candidates items.parquet --workdir build/items --name items
      twotower import-embeddings --candidates items.parquet --queries users.parquet \\
          --judgements clicks.csv --workdir build/items --name items --set export.k=50
      twotower query build/items/bundle/items --set embedding=0.1,0.7,-0.2
    """  # noqa: D301  (click reads the control character)
    if judgements is not None and queries is None:
        raise typer.BadParameter("needs --queries.", param_hint="--judgements")
    arguments.expect_files(candidates, queries, judgements)
    from pipelines.cli.reporting import make_reporter
    from pipelines.stages.import_embeddings import load_import_config, run

    config = load_import_config(tuple(overrides or ()))
    imported = run(
        candidates,
        queries,
        judgements,
        workdir=workdir,
        name=name,
        config=config,
        reporter=make_reporter(),
        command=arguments.command_line(),
    )
    bundle = imported.bundle
    if json_output:
        report = None if imported.report is None else str(imported.report)
        shown = {"bundle": str(bundle.directory), "version": bundle.version}
        arguments.print_json({**shown, "index": str(imported.index), "report": report})
    elif imported.report is not None:
        from pipelines.cli.printing import print_leaderboard
        from tfrs_twotower.artifacts import Layout

        print_leaderboard(Layout(imported.report.parent))
        typer.echo(f"Report: {imported.report / 'index.html'}")


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command(short_help="Run the whole path on MovieLens-100k.")(demo)
    app.command(short_help="Write a first feature spec and run config from tables.")(init)
    app.command(short_help="Fetch and convert a public data set, or make one up.")(dataset)
    app.command(short_help="Make a bundle of vectors from elsewhere.")(import_embeddings)
