"""Reads the `embeddings` artifact: vectors by id, sorted by the bytes of the ids."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower.artifacts.layout import (
    CANDIDATE_EMBEDDINGS_GLOB,
    TEST_EMBEDDINGS_GLOB,
    VALIDATION_EMBEDDINGS_GLOB,
)
from tfrs_twotower.data.raw_inputs import find_shards
from tfrs_twotower.errors import CorruptArtifact


@dataclass(frozen=True)
class Embeddings:
    """Vectors of one kind of records; for candidates the position is the corpus row."""

    ids: list[str]
    """Sorted as UTF-8 bytes, distinct."""
    titles: list[str]
    """Titles of candidates, aligned with `ids`; empty for queries."""
    vectors: npt.NDArray[np.float32]
    """`[len(ids), embedding_dim]`."""


def read_candidate_embeddings(directory: Path) -> Embeddings:
    """Embeddings of the corpus, in row order.

    Raises:
        MissingArtifact: there are no shards.
        CorruptArtifact: the corpus is empty, or a candidate stands twice.
    """
    found = _read(directory, CANDIDATE_EMBEDDINGS_GLOB, "candidate_id")
    if not found.ids:
        raise CorruptArtifact(f"{directory}: the corpus is empty. Run preprocess and embed again.")
    return found


def read_query_embeddings(directory: Path, split: Literal["validation", "test"]) -> Embeddings:
    """Embeddings of one split's queries.

    Raises:
        MissingArtifact: there are no shards.
        CorruptArtifact: a query stands twice.
    """
    patterns = {"validation": VALIDATION_EMBEDDINGS_GLOB, "test": TEST_EMBEDDINGS_GLOB}
    return _read(directory, patterns[split], "query_id")


def _read(directory: Path, pattern: str, id_column: str) -> Embeddings:
    shards = [pq.read_table(path) for path in find_shards(directory, pattern)]
    table = pa.concat_tables(shards)
    ids = table[id_column].to_pylist()
    titles = table["title"].to_pylist() if "title" in table.column_names else []
    dim = table.schema.field("embedding").type.list_size
    flat = table["embedding"].combine_chunks().flatten()
    vectors = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, dim)
    keys = [name.encode() for name in ids]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    for first, second in itertools.pairwise(order):
        if keys[first] == keys[second]:
            raise CorruptArtifact(
                f"{directory}: {id_column} {ids[first]!r} stands twice. Run embed again."
            )
    return Embeddings(
        [ids[row] for row in order],
        [titles[row] for row in order] if titles else [],
        vectors[order],
    )
