"""Embeddings that are read for queries and candidates, by the names of their records."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfrs_twotower.data.query_set import QuerySet
from tfrs_twotower.data.stored_embeddings import Embeddings, vectors_of, with_embeddings
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.ranking import GroundTruth, Ragged

EMBEDDED = Embeddings(
    np.array(["a", "b", "c"], object), np.array([[1, 0], [0, 1], [2, 2]], np.float32)
)


def write_queries(directory, split, ids, vectors):
    flat = pa.array(np.ravel(vectors).astype(np.float32), pa.float32())
    embedding = pa.FixedSizeListArray.from_arrays(flat, 2)
    table = pa.table({"query_id": pa.array(ids, pa.string()), "embedding": embedding})
    pq.write_table(table, directory / f"{split}-00000-of-00001.parquet")


def test_vectors_come_in_the_order_of_the_ids():
    assert vectors_of(EMBEDDED, ["c", "a"], "here").tolist() == [[2, 2], [1, 0]]


def test_an_id_without_a_vector_is_named():
    with pytest.raises(CorruptArtifact, match=r"here: 2 of 3 ids have no embedding, such as 'x'"):
        vectors_of(EMBEDDED, ["a", "x", "y"], "here")


def test_a_vector_that_is_not_finite_is_refused():
    broken = EMBEDDED._replace(vectors=EMBEDDED.vectors * np.float32(np.nan))
    with pytest.raises(CorruptArtifact, match="here: an embedding is not finite"):
        vectors_of(broken, ["a"], "here")


def test_queries_get_the_embeddings_of_their_own_ids(tmp_path):
    write_queries(tmp_path, "validation", ["c", "a", "b"], [[5, 6], [1, 2], [3, 4]])
    truth, nothing = GroundTruth.from_lists([[0], [1]]), Ragged.from_lists([[], []])
    queries = QuerySet(truth, nothing, ids=np.array(["b", "c"], object))
    embedded = with_embeddings(queries, tmp_path, "validation")
    assert embedded.embeddings.tolist() == [[3, 4], [5, 6]]
