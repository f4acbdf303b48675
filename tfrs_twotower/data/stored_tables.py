"""Reads the Parquet tables of artifacts: interactions above all."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tfrs_twotower.artifacts import layout
from tfrs_twotower.data import shards
from tfrs_twotower.data.corpus import Corpus
from tfrs_twotower.specs import SPLITS, TRAIN


def read_table(
    directory: Path,
    pattern: str,
    keep: pc.Expression | None = None,
    codes: Sequence[str] = (),
) -> pa.Table:
    """Reads all Parquet shards that match the pattern as one table, in shard order.

    Args:
        directory: of an artifact.
        pattern: of the shards' names.
        keep: which rows are kept; None keeps all.
        codes: columns of text that are read as codes and a dictionary, which takes less memory.

    Raises:
        MissingArtifact: there are no shards.
    """
    paths = shards.find_shards(directory, pattern)
    tables = (pq.read_table(path, read_dictionary=list(codes)) for path in paths)
    return pa.concat_tables([table if keep is None else table.filter(keep) for table in tables])


def known_candidates(directory: Path, corpus: Corpus) -> NDArray[np.bool_]:
    """The candidates that `split.known_candidates_only` keeps, `[num_candidates]`.

    They have a training interaction of any label. Preprocessing counts relevant candidates by the
    same rule, so none that it counts is left out of a ranking.

    Args:
        directory: directory of a preprocessed artifact.
        corpus: the artifact's corpus.

    Raises:
        MissingArtifact: there are no shards of interactions.
    """
    known = np.zeros(len(corpus), bool)
    for path in shards.find_shards(directory, layout.INTERACTIONS_GLOB):
        table = pq.read_table(path, columns=["candidate_id", "split"])
        trained = table.filter(pc.equal(table["split"], SPLITS[TRAIN]))
        rows = corpus.row_of(pc.unique(trained["candidate_id"]).to_pylist())
        known[rows[rows >= 0]] = True
    return known


def event_pairs(
    directory: Path, corpus: Corpus, splits: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The query, by a number, and the candidate, by its row, of every event of some splits.

    Args:
        directory: directory of a preprocessed artifact.
        corpus: the artifact's corpus; events with other candidates are left out.
        splits: positions in `SPLITS`.

    Raises:
        MissingArtifact: there are no shards of interactions.
    """
    table = read_table(directory, layout.INTERACTIONS_GLOB)
    names = pa.array([SPLITS[split] for split in splits])
    table = table.filter(pc.is_in(table["split"].cast(pa.string()), names))
    ids = table["candidate_id"].combine_chunks().cast(pa.string()).dictionary_encode()
    rows = corpus.row_of(ids.dictionary.to_pylist())[ids.indices.to_numpy(zero_copy_only=False)]
    queries = table["query_id"].combine_chunks().dictionary_encode().indices
    kept = rows >= 0
    return queries.to_numpy(zero_copy_only=False)[kept].astype(np.int64), rows[kept]
