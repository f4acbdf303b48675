"""The types of artifacts in ML Metadata: what the stages write, and the tables that they read.

Beside its own properties each artifact of a stage has `manifest_fingerprint`.
"""

from tfx.types import artifact, standard_artifacts, system_artifacts

from tfrs_twotower.artifacts.manifest import Kind


class Table(artifact.Artifact):
    """A table of the feature spec, as it lies outside of the pipeline."""

    TYPE_NAME = "TwoTowerTable"
    TYPE_ANNOTATION = system_artifacts.Dataset
    PROPERTIES = {
        "table": artifact.Property(type=artifact.PropertyType.STRING),
        "content": artifact.Property(type=artifact.PropertyType.STRING),
    }


class Preprocessed(artifact.Artifact):
    """Examples, corpus, vocabularies, statistics."""

    TYPE_NAME = "TwoTowerPreprocessed"
    TYPE_ANNOTATION = system_artifacts.Dataset


class Towers(artifact.Artifact):
    """Trained towers."""

    TYPE_NAME = "TwoTowerTowers"
    TYPE_ANNOTATION = system_artifacts.Model


class Embeddings(artifact.Artifact):
    """Embeddings of the corpus and of the evaluated queries."""

    TYPE_NAME = "TwoTowerEmbeddings"
    TYPE_ANNOTATION = system_artifacts.Dataset


class Index(artifact.Artifact):
    """The candidate index and its measured quality."""

    TYPE_NAME = "TwoTowerIndex"
    TYPE_ANNOTATION = system_artifacts.Model


class Negatives(artifact.Artifact):
    """The candidates that retrieval returns for the training examples."""

    TYPE_NAME = "TwoTowerNegatives"
    TYPE_ANNOTATION = system_artifacts.Dataset


class PreRanker(artifact.Artifact):
    """The second stage of the cascade."""

    TYPE_NAME = "TwoTowerPreRanker"
    TYPE_ANNOTATION = system_artifacts.Model


class Report(artifact.Artifact):
    """The evaluation, as JSON and as a page."""

    TYPE_NAME = "TwoTowerReport"
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
