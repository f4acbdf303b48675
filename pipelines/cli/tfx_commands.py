"""`twotower tfx`: the stages as a TFX pipeline, run here or compiled for Kubeflow and Vertex."""

import logging
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import arguments
from tfrs_twotower.environment import is_importable
from tfrs_twotower.errors import MissingExtra

if TYPE_CHECKING:
    from pipelines.stages.context import StageContext
    from pipelines.tfx_dag.components import PreparedRun

_Run = Annotated[Path, arguments.RUN_ARGUMENT]
_Set = Annotated[list[str] | None, arguments.SET_OPTION]
_Json = Annotated[bool, arguments.JSON_OPTION]
_Beam = Annotated[list[str] | None, arguments.BEAM_ARGUMENT]
_PushTo = Annotated[
    str,
    typer.Option(
        "--push-to",
        metavar="DIR",
        help="Directory that the Pusher pushes versions into, such as the one that TF Serving "
        "watches. The newest version there is what a new one is compared with.",
    ),
]
_Floor = Annotated[
    list[str] | None,
    typer.Option(
        "--floor",
        metavar="METRIC=VALUE",
        help="Least value of a metric of the served system on the test queries, such as "
        "recall@20=0.1; a version below it is not blessed. Repeatable.",
    ),
]
_Infer = Annotated[
    bool,
    typer.Option(
        "--infer",
        help="A stock BulkInferrer also answers every known query with a blessed version, and the "
        "stock StatisticsGen, SchemaGen and ExampleValidator look at those queries.",
    ),
]
_Root = Annotated[
    Path, typer.Option("--root", help="Directory of the pipeline's artifacts and ML Metadata.")
]
_EXIT_NOT_BLESSED = 1
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def run(
    run_config: _Run,
    root: _Root,
    push_to: _PushTo,
    beam_options: _Beam = None,
    overrides: _Set = None,
    floor: _Floor = None,
    infer: _Infer = False,
    json_output: _Json = False,
) -> None:
    """Run the stages as a TFX pipeline in this process, with ML Metadata.

    A component whose inputs are those of an earlier run takes its outputs. The evaluation compares
    the new version with the newest pushed one (export.gate), with popularity and with --floor, and
    the stock Pusher pushes it if it is blessed. Exit code 1: it was not.

    \b
      twotower tfx run mine/mine_run.yaml --root build/tfx --push-to served/mine
      twotower query served/mine --set town=Oslo
      twotower tfx lineage build/tfx
    """  # noqa: D301  (click reads the control character)
    context = _expect_tfx_and(run_config, root, overrides)
    from pipelines.tfx_dag import lineage, pipeline

    _show_messages()
    prepared = _prepared(context, str(Path(push_to).resolve()), floor)
    pipeline.run_locally(prepared, root, infer=infer, beam_options=beam_options or ())
    outcome = lineage.latest_outcome(lineage.open_store(root))
    if json_output:
        arguments.print_json(vars(outcome))
    else:
        for name, state in outcome.states.items():
            typer.echo(f"{name}: {'from the cache' if state == 'CACHED' else state.lower()}")
        if outcome.blessed:
            typer.echo(f"BLESSED, pushed to {outcome.pushed}")
        else:
            typer.echo(f"NOT_BLESSED, nothing was pushed: {outcome.reasons}")
    if not outcome.blessed:
        raise typer.Exit(_EXIT_NOT_BLESSED)


def compile_(
    run_config: _Run,
    root: Annotated[
        str, typer.Option("--root", help="Directory of the artifacts, such as gs://BUCKET/ROOT.")
    ],
    push_to: _PushTo,
    image: Annotated[
        str, typer.Option("--image", help="Container image with TFX and this package.")
    ],
    out: Annotated[Path, typer.Option("--out", help="File of the specification; JSON.")],
    beam_options: _Beam = None,
    overrides: _Set = None,
    floor: _Floor = None,
    infer: _Infer = False,
    data_version: Annotated[
        str,
        typer.Option(
            "--data-version",
            help="What the cache takes for the content of the tables, where they cannot be read "
            "from here, such as a date.",
        ),
    ] = "",
) -> None:
    """Write the pipeline for Kubeflow Pipelines 2 or Vertex, from the same table of stages.

    Beside OUT lies OUT's name with `.documents.json`: the run config and the feature spec. Copy it
    to ROOT/documents.json before the pipeline starts; components read it there.
    """
    with tempfile.TemporaryDirectory() as scratch:
        context = _expect_tfx_and(run_config, Path(scratch), overrides)
        from pipelines.tfx_dag import pipeline, prepared_run

        where = f"{root.rstrip('/')}/{prepared_run.DOCUMENTS_NAME}"
        prepared = _prepared(context, push_to, floor, where, data_version)
        documents = pipeline.compile_for_kubeflow(
            prepared, root, image, out, infer=infer, beam_options=beam_options or ()
        )
    typer.echo(f"Specification: {out}")
    typer.echo(f"Documents:     {documents}; copy them to {where}")


def lineage(
    root: _Root,
    version: Annotated[
        str,
        typer.Argument(
            metavar="[PUSHED]", help="Directory of a pushed version; by default the latest."
        ),
    ] = "",
    json_output: _Json = False,
) -> None:
    """Print what a pushed bundle was made from, down to the raw tables."""
    _expect_tfx()
    from pipelines.tfx_dag import lineage

    store = lineage.open_store(root)
    if version and "://" not in version:
        version = str(Path(version).resolve())
    origins = lineage.lineage(store, lineage.find_pushed(store, version))
    if json_output:
        arguments.print_json([vars(origin) for origin in origins])
    else:
        for origin in origins:
            typer.echo(origin.line())


def _expect_tfx() -> None:
    if not is_importable("tfx"):
        raise MissingExtra(
            "`twotower tfx` needs TFX, which this environment lacks, and which does not fit beside "
            "the newest TensorFlow. Use the second environment: `make install-tfx` in a checkout "
            "(then .venv-tfx/bin/twotower), or one made from pipelines/tfx_dag/environment.lock."
        )


def _expect_tfx_and(run_config: Path, workdir: Path, overrides: list[str] | None) -> "StageContext":
    _expect_tfx()
    return arguments.make_context(run_config, workdir, overrides or ())


def _prepared(
    context: "StageContext",
    push_to: str,
    floors: list[str] | None,
    documents: str = "",
    data_version: str = "",
) -> "PreparedRun":
    from pipelines.tfx_dag.components import PreparedRun

    return PreparedRun(context, documents, push_to, _typed_floors(floors or ()), data_version)


def _typed_floors(texts: Iterable[str]) -> dict[str, float]:
    floors = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            floors[name] = float(value)
        except ValueError:
            raise typer.BadParameter(
                f"found '{text}', expected METRIC=VALUE, such as recall@20=0.1.",
                param_hint="--floor",
            ) from None
    return floors


def _show_messages() -> None:
    """Shows what the stages say on standard error, without what TFX and Beam log."""
    if "--debug" not in sys.argv:
        logging.getLogger().setLevel(logging.ERROR)
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # a failure is an exception as well
    logger = logging.getLogger("pipelines.tfx_dag")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())


def add_to(parent: typer.Typer) -> None:
    """Adds the commands."""
    app.command("run")(run)
    app.command("compile")(compile_)
    app.command("lineage")(lineage)
    parent.add_typer(app, name="tfx", help="The stages as a TFX pipeline.")
