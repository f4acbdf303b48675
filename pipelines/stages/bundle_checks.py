"""What the export stage asks of a saved model before it is published: the offline answers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy.typing as npt

from pipelines.stages.context import StageContext
from serving.bundle.gate import MEASURES
from serving.bundle.loading import LoadedModel
from serving.bundle.measures import measure_model
from serving.bundle.parity import check_embeddings, check_lists, sample_rows
from serving.graph.release import Release
from serving.graph.signatures import CANDIDATE_EMBEDDING, QUERY_EMBEDDING
from tfrs_twotower.artifacts import read_manifest
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.embeddings import read_query_embeddings
from tfrs_twotower.data.preprocessed import load_query_set
from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.errors import BundleError
from tfrs_twotower.ranking import FloatArray

_COMPARED_ROWS = 32


class Compared(NamedTuple):
    """Some records and their offline embeddings."""

    raw: dict[str, npt.NDArray[Any]]
    vectors: FloatArray
    """`[num_rows, embedding_dim]`."""


class BundleChecks:
    """Compares a saved model with index and pre-ranker on test queries, and measures it."""

    def __init__(self, context: StageContext, corpus: Corpus, whole: Release) -> None:
        """Reads what is compared.

        Args:
            context: the run.
            corpus: of the preprocessed artifact.
            whole: the release of the whole corpus.

        Raises:
            BundleError: the embeddings or the index are of other records than the examples.
        """
        layout = context.layout
        queries = load_query_set(layout.preprocessed, "test", context.spec, corpus)
        embedded = read_query_embeddings(layout.embeddings, "test")
        self._queries = _compared(queries.ids, queries.inputs, embedded.ids, embedded.vectors)
        indexed = whole.corpus
        self._candidates = _compared(corpus.ids, corpus.raw, indexed.ids, indexed.vectors)
        self._corpus = corpus
        self._judged = _judged_queries(context, corpus)

    def of(self, release: Release) -> Callable[[LoadedModel], Mapping[str, Any]]:
        """The check of a model that was made from a release: raises, or returns its measures.

        Raises:
            BundleError: (by the check) its vectors or lists differ from the offline ones.
        """
        judged = self._judged
        if judged is not None:
            judged = judged.among(self._corpus.row_of(release.corpus.ids), len(self._corpus))

        def check(model: LoadedModel) -> Mapping[str, Any]:
            check_embeddings(model, QUERY_EMBEDDING, *self._queries)
            check_embeddings(model, CANDIDATE_EMBEDDING, *self._candidates)
            check_lists(model, self._queries.raw, release)
            return {MEASURES: measure_model(model, judged, release.corpus)}

        return check


def _compared(
    ids: npt.NDArray[Any] | list[str],
    raw: dict[str, npt.NDArray[Any]],
    embedded_ids: npt.NDArray[Any],
    vectors: FloatArray,
) -> Compared:
    if list(ids) != embedded_ids.tolist():
        raise BundleError(
            f"export: the embeddings are of {len(embedded_ids)} other records than the "
            f"{len(ids)} of the examples. Run embed, build-index and export again."
        )
    rows = sample_rows(raw, _COMPARED_ROWS)
    return Compared({name: values[rows] for name, values in raw.items()}, vectors[rows])


def _judged_queries(context: StageContext, corpus: Corpus) -> QuerySet | None:
    """The validation queries that versions are measured on; None where there are none."""
    layout = context.layout
    if not read_manifest(layout.preprocessed, "preprocessed").counts.get("validation_queries", 0):
        return None
    queries = load_query_set(layout.preprocessed, "validation", context.spec, corpus)
    return queries.spread(context.config.index.num_measured_queries)
