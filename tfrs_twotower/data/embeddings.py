"""Reads the `embeddings` artifact: vectors by id, sorted by the bytes of the ids."""

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower.artifacts.layout import (
    CANDIDATE_EMBEDDINGS_GLOB,
    TEST_EMBEDDINGS_GLOB,
    VALIDATION_EMBEDDINGS_GLOB,
)
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.data.raw_inputs import find_shards
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.ranking import FloatArray


class Embeddings(NamedTuple):
    """Vectors of the evaluated queries of one split."""

    ids: npt.NDArray[np.object_]
    """`[num_queries]` str, sorted, distinct."""
    vectors: FloatArray
    """`[num_queries, embedding_dim]`."""


def read_candidate_embeddings(directory: Path) -> Corpus:
    """The corpus with its vectors, without raw features.

    Raises:
        MissingArtifact: there are no shards.
        CorruptArtifact: the corpus is empty, or a candidate stands twice.
    """
    columns = _read(directory, CANDIDATE_EMBEDDINGS_GLOB, "candidate_id")
    if not len(columns["candidate_id"]):
        raise CorruptArtifact(f"{directory}: the corpus is empty. Run preprocess and embed again.")
    return Corpus(columns["candidate_id"], columns["title"], {}, columns["embedding"])


def read_query_embeddings(directory: Path, split: Literal["validation", "test"]) -> Embeddings:
    """Embeddings of one split's queries.

    Raises:
        MissingArtifact: there are no shards.
        CorruptArtifact: a query stands twice.
    """
    patterns = {"validation": VALIDATION_EMBEDDINGS_GLOB, "test": TEST_EMBEDDINGS_GLOB}
    columns = _read(directory, patterns[split], "query_id")
    return Embeddings(columns["query_id"], columns["embedding"])


def _read(directory: Path, pattern: str, id_column: str) -> dict[str, npt.NDArray[Any]]:
    """The columns of all shards, in the order of the ids."""
    table = pa.concat_tables([pq.read_table(path) for path in find_shards(directory, pattern)])
    columns: dict[str, npt.NDArray[Any]] = {
        name: table[name].to_numpy() for name in table.column_names if name != "embedding"
    }
    dim = table.schema.field("embedding").type.list_size
    flat = table["embedding"].combine_chunks().flatten()
    columns["embedding"] = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, dim)
    order = np.argsort(columns[id_column], kind="stable")
    for first, second in pairwise(columns[id_column][order]):
        if first == second:
            raise CorruptArtifact(
                f"{directory}: {id_column} {first!r} stands twice. Run embed again."
            )
    return {name: values[order] for name, values in columns.items()}
