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


def _spec_of(stage: sequence.Stage) -> type[component_spec.ComponentSpec]:
    """The interface of a stage's component; which inputs there are depends on the run."""
    kinds = (*prepared_run.parents_of(stage), stage.kind)
    read: dict[str, Any] = {kind: artifact_types.BY_KIND[kind] for kind in kinds}
    written: dict[str, Any] = {stage.kind: read.pop(stage.kind)}
    names = ["stage", "documents", "spec_fingerprint", "config_fingerprint"]
    if stage.kind == "preprocessed":
        read = dict.fromkeys(TABLES, artifact_types.TABLE)
    if stage.kind == "report":
        written["blessing"] = standard_artifacts.ModelBlessing
        names += ["push_destination", "floors"]
    channel = component_spec.ChannelParameter
    return type(
        f"{_class_name(stage)}Spec",
        (component_spec.ComponentSpec,),
        {
            "PARAMETERS": dict.fromkeys(names, _TEXT),
            "INPUTS": {name: channel(type=kind, optional=True) for name, kind in read.items()},
            "OUTPUTS": {name: channel(type=kind) for name, kind in written.items()},
        },
    )


def _class_name(stage: sequence.Stage) -> str:
    return stage.name.title().replace("-", "")


class StageComponent(base_component.BaseComponent):
    """A stage as a component."""

    STAGE: ClassVar[sequence.Stage]
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executors.StageExecutor)

    def __init__(self, run: PreparedRun, **channels: types.BaseChannel) -> None:
        """Makes the component of a run.

        Args:
            run: the run.
            channels: the artifacts that the stage reads, by kind: outputs of other components.

        Raises:
            DataError: (of Preprocess) a table cannot be found.
        """
        stage, interface = self.STAGE, self.SPEC_CLASS
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


class _EvaluateComponent(StageComponent):
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executors.EvaluateExecutor)


def _component_of(stage: sequence.Stage) -> type[StageComponent]:
    bases: dict[str, type[StageComponent]] = {
        "preprocessed": _BeamStageComponent,
        "embeddings": _BeamStageComponent,
        "report": _EvaluateComponent,
    }
    fields = {"STAGE": stage, "SPEC_CLASS": _spec_of(stage), "__module__": __name__}
    return type(_class_name(stage), (bases.get(stage.kind, StageComponent),), fields)


BY_STAGE = {stage.name: _component_of(stage) for stage in sequence.STAGES}
"""`Preprocess`, `Train` and so on by the name of the stage."""


class _RequestExamplesSpec(component_spec.ComponentSpec):
    PARAMETERS: ClassVar = {"documents": _TEXT}
    INPUTS: ClassVar = {
        "preprocessed": component_spec.ChannelParameter(type=artifact_types.BY_KIND["preprocessed"])
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
