"""The types of artifacts in ML Metadata: what the stages write, and the tables that they read.

Custom properties say what they are: `manifest_fingerprint` of an artifact of a stage, `table` and
`content` of a table. A component on Kubeflow imports a type by its name, which may have one dot:
`pipelines.NAME` (its `__getattr__`); there a type of its own has no declared properties.
"""

from tfx.types import artifact, standard_artifacts, system_artifacts

from tfrs_twotower.artifacts.manifest import Kind


def _type(name: str, annotation: type[system_artifacts.SystemArtifact]) -> type[artifact.Artifact]:
    fields = {"TYPE_NAME": f"pipelines.{name}", "TYPE_ANNOTATION": annotation}
    return type(name, (artifact.Artifact,), {**fields, "__module__": "pipelines"})


TABLE = _type("Table", system_artifacts.Dataset)
"""A table of the feature spec, as it lies outside of the pipeline."""
BY_KIND: dict[Kind, type[artifact.Artifact]] = {
    "preprocessed": _type("Preprocessed", system_artifacts.Dataset),
    "model": _type("Towers", system_artifacts.Model),
    "embeddings": _type("Embeddings", system_artifacts.Dataset),
    "index": _type("Index", system_artifacts.Model),
    "negatives": _type("Negatives", system_artifacts.Dataset),
    "pre_ranker": _type("PreRanker", system_artifacts.Model),
    "bundle": standard_artifacts.Model,  # so that the stock Pusher and BulkInferrer take it
    "report": _type("Report", system_artifacts.Metrics),
}
BY_NAME = {kind.__name__: kind for kind in (TABLE, *BY_KIND.values())}
