"""Reads embeddings from disk: of the corpus, and of the queries of a split."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tfrs_twotower.artifacts import layout
from tfrs_twotower.data import loading, query_set, stored_tables
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.shards import find_shards
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.ranking import FloatArray

_EMBEDDING_GLOBS = {
    "validation": layout.VALIDATION_EMBEDDINGS_GLOB,
    "test": layout.TEST_EMBEDDINGS_GLOB,
    "perturbed": layout.PERTURBED_EMBEDDINGS,
    layout.FIRST_FIT_VALIDATION: f"{layout.FIRST_FIT_VALIDATION}-*.parquet",
}
EmbeddedSplit = Literal["validation", "test", "perturbed", "first_fit_validation"]


class Embeddings(NamedTuple):
    """Vectors of the evaluated queries of one split."""

    ids: NDArray[np.object_]
    """`[num_queries]` str, sorted, distinct."""
    vectors: FloatArray
    """`[num_queries, embedding_dim]`."""


def read_candidate_embeddings(directory: Path, *, first_fit: bool = False) -> Corpus:
    """The corpus with its vectors, without raw features.

    Args:
        directory: the embeddings.
        first_fit: whether to read the vectors of the first fit, which are written where something
            is chosen by them.

    Raises:
        MissingArtifact: there are no shards.
        CorruptArtifact: the corpus is empty, or a candidate occurs twice.
    """
    pattern = f"{layout.FIRST_FIT_CANDIDATES}-*.parquet"
    if not first_fit:
        pattern = layout.CANDIDATE_EMBEDDINGS_GLOB
    columns = _read_embeddings(directory, pattern, "candidate_id")
    if not len(columns["candidate_id"]):
        raise CorruptArtifact(f"{directory}: the corpus is empty. Run preprocess and embed again.")
    return Corpus(columns["candidate_id"], columns["title"], {}, columns["embedding"])


def read_candidate_ids(directory: Path) -> Corpus:
    """The corpus of the embeddings with its ids alone: neither titles nor vectors are read.

    Raises:
        MissingArtifact: there are no shards.
    """
    paths = find_shards(directory, layout.CANDIDATE_EMBEDDINGS_GLOB)
    tables = [pq.read_table(path, columns=["candidate_id"]) for path in paths]
    listed = pa.concat_tables(tables)["candidate_id"].combine_chunks()
    ids = listed.take(pc.sort_indices(listed)).to_numpy(zero_copy_only=False)
    return Corpus(ids, np.full(len(ids), "", object), {})


def read_query_embeddings(
    directory: Path, split: EmbeddedSplit, ids: list[str] | None = None
) -> Embeddings:
    """Embeddings of one split's queries.

    `perturbed` are disturbed queries of the split that is measured on; `first_fit_validation` are
    the validation queries by towers that have not learned from them.

    Args:
        directory: the embeddings.
        split: whose queries.
        ids: the queries to keep, as far as they are there; None keeps all.

    Raises:
        MissingArtifact: there are no shards.
        CorruptArtifact: a query occurs twice.
    """
    columns = _read_embeddings(directory, _EMBEDDING_GLOBS[split], "query_id", ids)
    return Embeddings(columns["query_id"], columns["embedding"])


def with_embeddings(
    queries: query_set.QuerySet, directory: Path, split: EmbeddedSplit
) -> query_set.QuerySet:
    """The queries with their embeddings.

    Raises:
        MissingArtifact, CorruptArtifact: see `read_query_embeddings` and `vectors_of`.
    """
    ids = queries.ids.tolist()
    embedded = read_query_embeddings(directory, split, ids)
    vectors = vectors_of(embedded, ids, f"{directory}, {split}")
    return replace(queries, embeddings=vectors)


def vectors_of(embeddings: Corpus | Embeddings, ids: list[str], where: str) -> FloatArray:
    """The embeddings of these ids, in their order.

    Args:
        embeddings: of these and perhaps other ids.
        ids: of candidates or queries.
        where: the embeddings came from, for messages.

    Raises:
        CorruptArtifact: an id has no embedding, or a number in one is not finite.
    """
    places = pc.index_in(pa.array(ids, pa.string()), pa.array(embeddings.ids, pa.string()))
    if places.null_count:
        missing = ids[pc.index(places.is_null(), True).as_py()]
        raise CorruptArtifact(
            f"{where}: {places.null_count} of {len(ids)} ids have no embedding, such "
            f"as {missing!r}. Run embed again."
        )
    vectors = embeddings.vectors[places.to_numpy(zero_copy_only=False)]
    if not np.isfinite(vectors).all():
        raise CorruptArtifact(f"{where}: an embedding is not finite. Run embed again.")
    return vectors


def _read_embeddings(
    directory: Path, pattern: str, id_column: str, ids: list[str] | None = None
) -> dict[str, NDArray[Any]]:
    """The columns of all shards, or of some ids, in the order of the ids."""
    keep = None if ids is None else pc.field(id_column).isin(pa.array(ids, pa.string()))
    table = stored_tables.read_table(directory, pattern, keep)
    order, repeated = loading.sorted_ids(table[id_column].combine_chunks())
    if repeated is not None:
        raise CorruptArtifact(
            f"{directory}: {id_column} {repeated!r} occurs twice. Run embed again."
        )
    columns: dict[str, NDArray[Any]] = {
        name: table[name].take(order).to_numpy()
        for name in table.column_names
        if name != "embedding"
    }
    dim = table.schema.field("embedding").type.list_size
    flat = table["embedding"].combine_chunks().flatten()
    vectors = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, dim)
    columns["embedding"] = vectors[order]
    return columns
