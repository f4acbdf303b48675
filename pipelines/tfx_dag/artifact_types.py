"""The types of artifacts in ML Metadata: what the stages write, and the tables that they read.

Custom properties say what they are: `manifest_fingerprint` of an artifact of a stage, `table` and
`content` of a table. A component on Kubeflow imports a type by its name, which may have one dot:
`pipelines.NAME` (its `__getattr__`); there a type of its own has no declared properties.
"""

from tfx.types import artifact, standard_artifacts, system_artifacts

from tfrs_twotower.artifacts.manifest import Kind


class Table(artifact.Artifact):
    """A table of the feature spec, as it lies outside of the pipeline."""

    TYPE_NAME = "pipelines.Table"
    TYPE_ANNOTATION = system_artifacts.Dataset


class Preprocessed(artifact.Artifact):
    """Examples, corpus, vocabularies, statistics."""

    TYPE_NAME = "pipelines.Preprocessed"
    TYPE_ANNOTATION = system_artifacts.Dataset


class Towers(artifact.Artifact):
    """Trained towers."""

    TYPE_NAME = "pipelines.Towers"
    TYPE_ANNOTATION = system_artifacts.Model


class Embeddings(artifact.Artifact):
    """Embeddings of the corpus and of the evaluated queries."""

    TYPE_NAME = "pipelines.Embeddings"
    TYPE_ANNOTATION = system_artifacts.Dataset


class Index(artifact.Artifact):
    """The candidate index and its measured quality."""

    TYPE_NAME = "pipelines.Index"
    TYPE_ANNOTATION = system_artifacts.Model


class Negatives(artifact.Artifact):
    """The candidates that retrieval returns for the training examples."""

    TYPE_NAME = "pipelines.Negatives"
    TYPE_ANNOTATION = system_artifacts.Dataset


class PreRanker(artifact.Artifact):
    """The second stage of the cascade."""

    TYPE_NAME = "pipelines.PreRanker"
    TYPE_ANNOTATION = system_artifacts.Model


class Report(artifact.Artifact):
    """The evaluation, as JSON and as a page."""

    TYPE_NAME = "pipelines.Report"
    TYPE_ANNOTATION = system_artifacts.Metrics


BY_KIND: dict[Kind, type[artifact.Artifact]] = {
    "preprocessed": Preprocessed,
    "model": Towers,
    "embeddings": Embeddings,
    "index": Index,
    "negatives": Negatives,
    "pre_ranker": PreRanker,
    "bundle": standard_artifacts.Model,  # so that the stock Pusher and BulkInferrer take it
    "report": Report,
}
