"""Pipelines of the components, made from the table of stages: to run here, or on Kubeflow."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfx import components as stock
from tfx.dsl.components.common import importer
from tfx.orchestration import metadata
from tfx.orchestration.local import local_dag_runner
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import bulk_inferrer_pb2, pusher_pb2
from tfx.types import Channel
from tfx.utils import io_utils

from pipelines.tfx_dag import artifact_types, prepared_run
from pipelines.tfx_dag import components as own
from serving.graph.names import SERVING_EXAMPLES
from tfrs_twotower.errors import ConfigError

METADATA_NAME = "metadata.sqlite"


def stage_components(run: own.PreparedRun) -> dict[str, Any]:
    """The imported tables and a component for each stage of the run, by name, in order.

    Raises:
        ConfigError: the run exports more than one SavedModel.
        DataError: a table cannot be found.
    """
    config = run.context.config
    if config.export.shards > 1 or len(config.export.bundles) > 1:
        raise ConfigError(
            f"run '{config.name}': export has {max(1, len(config.export.bundles))} bundles in "
            f"{config.export.shards} shards, but a TFX Model is one SavedModel. Keep one entry in "
            "export.bundles and export.shards: 1, and make a pipeline for each further bundle."
        )
    found: dict[str, Any] = {}
    for name, table in prepared_run.tables_of(run.context, run.data_version).items():
        found[name] = importer.Importer(
            source_uri=table.path,
            artifact_type=artifact_types.TABLE,
            custom_properties={"table": name, "content": table.content},
        ).with_id(f"Table.{name}")
    by_kind: dict[str, Channel] = {name: node.outputs["result"] for name, node in found.items()}
    for stage in prepared_run.stages_of(config):
        kinds: Sequence[str] = prepared_run.parents_of(stage, config) or tuple(found)
        component = own.BY_STAGE[stage.name](run, **{kind: by_kind[kind] for kind in kinds})
        found[stage.name] = component
        by_kind[stage.kind] = component.outputs[stage.kind]
    return found


def make_pipeline(
    run: own.PreparedRun,
    name: str,
    root: str,
    *,
    infer: bool = False,
    beam_options: Sequence[str] = (),
    enable_cache: bool = True,
    metadata_path: str | None = None,
) -> Pipeline:
    """The pipeline of a run, which ends in the stock Pusher.

    Args:
        run: the run, with where the Pusher pushes.
        name: of the pipeline.
        root: directory of its artifacts.
        infer: whether a stock BulkInferrer answers every known query with a blessed model, and the
            stock StatisticsGen, SchemaGen and ExampleValidator look at those queries.
        beam_options: Beam's pipeline options for all components that use Beam, ours and stock.
        enable_cache: whether a component whose inputs and properties are those of an earlier run
            takes its outputs.
        metadata_path: file of ML Metadata, for LocalDagRunner.

    Raises:
        ConfigError, DataError: see `stage_components`.
    """
    ours = stage_components(run)
    blessing = ours["evaluate"].outputs["blessing"]
    pusher = stock.Pusher(
        model=ours["export"].outputs["bundle"],
        model_blessing=blessing,
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=run.push_destination)
        ),
    )
    nodes = [*ours.values(), pusher, *(_inference(run, ours) if infer else ())]
    connection = metadata_path and metadata.sqlite_metadata_connection_config(metadata_path)
    return Pipeline(
        pipeline_name=name,
        pipeline_root=root,
        components=nodes,
        enable_cache=enable_cache,
        beam_pipeline_args=list(beam_options),
        metadata_connection_config=connection,
    )


def _inference(run: own.PreparedRun, ours: dict[str, Any]) -> Iterator[Any]:
    requests = own.RequestExamples(run, ours["preprocess"].outputs["preprocessed"])
    statistics = stock.StatisticsGen(examples=requests.outputs["examples"])
    schema = stock.SchemaGen(statistics=statistics.outputs["statistics"])
    yield from (requests, statistics, schema)
    yield stock.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    yield stock.BulkInferrer(
        examples=requests.outputs["examples"],
        model=ours["export"].outputs["bundle"],
        model_blessing=ours["evaluate"].outputs["blessing"],
        data_spec=bulk_inferrer_pb2.DataSpec(),
        model_spec=bulk_inferrer_pb2.ModelSpec(model_signature_name=[SERVING_EXAMPLES]),
    )


def run_locally(
    run: own.PreparedRun, root: Path, *, infer: bool = False, beam_options: Sequence[str] = ()
) -> None:
    """Runs the pipeline of a run in this process, with ML Metadata in `root/metadata.sqlite`.

    The documents are written to `root/documents.json`, whatever `run` says.

    Raises:
        TwoTowerError: a stage failed, or the pipeline cannot be made.
    """
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    run = replace(run, documents=str(root / prepared_run.DOCUMENTS_NAME))
    pipeline = make_pipeline(
        run,
        run.context.config.name,
        str(root),
        infer=infer,
        beam_options=beam_options,
        metadata_path=str(root / METADATA_NAME),
    )
    io_utils.write_string_file(run.documents, prepared_run.documents_of(run.context))
    local_dag_runner.LocalDagRunner().run(pipeline)


def compile_for_kubeflow(
    run: own.PreparedRun,
    root: str,
    image: str,
    out: Path,
    *,
    infer: bool = False,
    beam_options: Sequence[str] = (),
) -> Path:
    """Writes the specification of a run's pipeline for Kubeflow Pipelines 2 or Vertex.

    Args:
        run: the run; its documents must lie where `run.documents` says before the pipeline starts.
        root: directory of the pipeline's artifacts, such as `gs://bucket/root`.
        image: container image that has TFX and this package.
        out: file of the specification, JSON.
        infer: see `make_pipeline`.
        beam_options: see `make_pipeline`.

    Returns:
        The file of the documents, which is written beside the specification.
    """
    from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as kubeflow

    name = run.context.config.name.replace("_", "-")  # what Kubeflow allows
    pipeline = make_pipeline(run, name, root, infer=infer, beam_options=beam_options)
    out.parent.mkdir(parents=True, exist_ok=True)
    config = kubeflow.KubeflowV2DagRunnerConfig(default_image=image)
    kubeflow.KubeflowV2DagRunner(
        config=config, output_dir=str(out.parent), output_filename=out.name
    ).run(pipeline)
    documents = out.with_name(f"{out.stem}.{prepared_run.DOCUMENTS_NAME}")
    documents.write_text(prepared_run.documents_of(run.context), encoding="utf-8")
    return documents
