"""What the export stage asks of a saved model before it is published: the offline answers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.stages.context import StageContext
from serving.bundle.loading import LoadedModel
from serving.bundle.parity import check_embeddings, check_lists, sample_rows
from serving.bundle.writing import BundleOptions, BundleSource
from serving.graph.signatures import CANDIDATE_EMBEDDING, QUERY_EMBEDDING
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.embeddings import (
    Embeddings,
    read_candidate_embeddings,
    read_query_embeddings,
)
from tfrs_twotower.data.evaluation_queries import load_evaluation_queries
from tfrs_twotower.errors import BundleError

_COMPARED_ROWS = 32


@dataclass(frozen=True)
class Compared:
    """Some records and their offline embeddings."""

    raw: dict[str, npt.NDArray[Any]]
    vectors: npt.NDArray[np.float32]
    """`[num_rows, embedding_dim]`."""


class BundleChecks:
    """Compares a saved model with embeddings, index and pre-ranker, on test queries."""

    def __init__(self, context: StageContext, corpus: Corpus) -> None:
        """Reads what is compared.

        Raises:
            BundleError: the embeddings are of other records than the examples.
        """
        layout = context.layout
        queries = load_evaluation_queries(layout.preprocessed, "test", context.spec, corpus)
        self._queries = _compared(
            queries.query_ids, queries.raw, read_query_embeddings(layout.embeddings, "test")
        )
        self._candidates = _compared(
            corpus.ids, corpus.raw, read_candidate_embeddings(layout.embeddings)
        )

    def check(self, model: LoadedModel, source: BundleSource, options: BundleOptions) -> None:
        """Compares the model that was made from a source.

        Raises:
            BundleError: its vectors or lists differ from the offline ones.
        """
        check_embeddings(model, QUERY_EMBEDDING, self._queries.raw, self._queries.vectors)
        check_embeddings(model, CANDIDATE_EMBEDDING, self._candidates.raw, self._candidates.vectors)
        check_lists(
            model,
            self._queries.raw,
            source.searcher(options),
            source.index.candidate_ids,
            source.pre_ranker,
            options.candidate_heads,
        )


def _compared(
    ids: npt.NDArray[np.object_], raw: dict[str, npt.NDArray[Any]], embeddings: Embeddings
) -> Compared:
    if [name.decode() for name in ids.tolist()] != embeddings.ids:
        raise BundleError(
            f"export: the embeddings are of {len(embeddings.ids)} other records than the "
            f"{len(ids)} of the examples. Run embed, build-index and export again."
        )
    rows = sample_rows(raw, _COMPARED_ROWS)
    return Compared({name: values[rows] for name, values in raw.items()}, embeddings.vectors[rows])
