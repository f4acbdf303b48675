"""The components: one for each stage of the table of stages, and one for requests.

Each takes the artifacts that its stage reads as channels, named by their kinds, and the fingerprint
of everything else that it reads as an execution property.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_beam_component, base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from pipelines.stages import sequence
from pipelines.stages.context import StageContext
from pipelines.tfx_dag import artifact_types, executors, prepared_run
from tfrs_twotower.artifacts import fingerprint

TABLES = ("interactions", "candidates", "queries")
_STAGES = {stage.name: stage for stage in sequence.STAGES}
_TEXT = component_spec.ExecutionParameter(type=str)
_EXAMPLES = component_spec.ChannelParameter(type=standard_artifacts.Examples)


@dataclass(frozen=True)
class PreparedRun:
    """What all components of a pipeline are told."""

    context: StageContext
    """The run; its layout is not used."""
    documents: str
    """Where components find what `prepared_run.documents_of` says."""
    push_destination: str = ""
    """Where the Pusher pushes; the evaluation compares with what is there."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """Least values of metrics of the served system on the test queries, by name."""
    data_version: str = ""
    """Stands for the content of the tables, where they cannot be read while a pipeline is made."""


def _spec_of(
    stage_name: str,
    inputs: Mapping[str, type[Any]] | None = None,
    outputs: Mapping[str, type[Any]] | None = None,
    parameters: tuple[str, ...] = (),
) -> type[component_spec.ComponentSpec]:
    """The interface of a stage's component; which inputs there are depends on the run."""
    stage = _STAGES[stage_name]
    read: dict[str, type[Any]] = {
        kind: artifact_types.BY_KIND[kind] for kind in prepared_run.parents_of(stage)
    }
    written: dict[str, type[Any]] = {stage.kind: artifact_types.BY_KIND[stage.kind]}
    names = ("stage", "documents", "spec_fingerprint", "config_fingerprint", *parameters)
    return type(
        f"{stage_name.title().replace('-', '')}Spec",
        (component_spec.ComponentSpec,),
        {
            "PARAMETERS": dict.fromkeys(names, _TEXT),
            "INPUTS": {
                name: component_spec.ChannelParameter(type=kind, optional=True)
                for name, kind in {**read, **(inputs or {})}.items()
            },
            "OUTPUTS": {
                name: component_spec.ChannelParameter(type=kind)
                for name, kind in {**written, **(outputs or {})}.items()
            },
        },
    )


class StageComponent(base_component.BaseComponent):
    """A stage as a component; its class names the stage's interface and executor."""

    STAGE: ClassVar[str]
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executors.StageExecutor)

    def __init__(self, run: PreparedRun, **channels: types.BaseChannel) -> None:
        """Makes the component of a run.

        Args:
            run: the run.
            channels: the artifacts that the stage reads, by kind: outputs of other components.

        Raises:
            DataError: (of Preprocess) a table cannot be found.
        """
        stage, interface = _STAGES[self.STAGE], self.SPEC_CLASS
        properties = {
            "stage": stage.name,
            "documents": run.documents,
            "spec_fingerprint": fingerprint(run.context.spec),
            "config_fingerprint": prepared_run.stage_fingerprint(
                run.context, stage, run.data_version
            ),
            "push_destination": run.push_destination,
            "floors": json.dumps(dict(run.floors), sort_keys=True),
        }
        super().__init__(
            interface(
                **{name: properties[name] for name in interface.PARAMETERS},
                **channels,
                **{name: types.Channel(type=out.type) for name, out in interface.OUTPUTS.items()},
            )
        )


class _BeamStageComponent(StageComponent, base_beam_component.BaseBeamComponent):
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executors.BeamStageExecutor)


class Preprocess(_BeamStageComponent):
    """From the tables to examples, corpus, vocabularies and statistics (Beam)."""

    STAGE = "preprocess"
    SPEC_CLASS = _spec_of(STAGE, inputs=dict.fromkeys(TABLES, artifact_types.Table))


class Train(StageComponent):
    """Trains both towers."""

    STAGE = "train"
    SPEC_CLASS = _spec_of(STAGE)


class Embed(_BeamStageComponent):
    """Embeds the corpus and the evaluated queries (Beam)."""

    STAGE = "embed"
    SPEC_CLASS = _spec_of(STAGE)


class BuildIndex(StageComponent):
    """Builds and measures the candidate index."""

    STAGE = "build-index"
    SPEC_CLASS = _spec_of(STAGE)


class Mine(StageComponent):
    """Mines negatives from what retrieval returns."""

    STAGE = "mine"
    SPEC_CLASS = _spec_of(STAGE)


class TrainPreRanker(StageComponent):
    """Trains the second stage of the cascade."""

    STAGE = "train-pre-ranker"
    SPEC_CLASS = _spec_of(STAGE)


class Export(StageComponent):
    """Writes a version of the run's bundle as a stock `Model`, which a Pusher can push."""

    STAGE = "export"
    SPEC_CLASS = _spec_of(STAGE)


class Evaluate(StageComponent):
    """Compares with the baselines, writes the report, and blesses the exported model or not."""

    STAGE = "evaluate"
    SPEC_CLASS = _spec_of(
        STAGE,
        outputs={"blessing": standard_artifacts.ModelBlessing},
        parameters=("push_destination", "floors"),
    )
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executors.EvaluateExecutor)


BY_STAGE: dict[str, type[StageComponent]] = {
    component.STAGE: component
    for component in (
        Preprocess,
        Train,
        Embed,
        BuildIndex,
        Mine,
        TrainPreRanker,
        Export,
        Evaluate,
    )
}


class _RequestExamplesSpec(component_spec.ComponentSpec):
    PARAMETERS: ClassVar = {"documents": _TEXT}
    INPUTS: ClassVar = {
        "preprocessed": component_spec.ChannelParameter(type=artifact_types.Preprocessed)
    }
    OUTPUTS: ClassVar = {"examples": _EXAMPLES}


class RequestExamples(base_beam_component.BaseBeamComponent):
    """Every known query as an Example for `serving_examples`, such as a BulkInferrer's (Beam)."""

    SPEC_CLASS = _RequestExamplesSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executors.RequestExamplesExecutor)

    def __init__(self, run: PreparedRun, preprocessed: types.BaseChannel) -> None:
        """Makes the component of a run.

        Args:
            run: the run.
            preprocessed: the output of Preprocess.
        """
        examples = types.Channel(type=standard_artifacts.Examples)
        super().__init__(
            _RequestExamplesSpec(
                documents=run.documents, preprocessed=preprocessed, examples=examples
            )
        )
