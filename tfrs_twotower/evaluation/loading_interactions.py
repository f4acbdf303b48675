"""Reads interactions, and how often each candidate was chosen, for `loading_evaluated_data`."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tfrs_twotower.artifacts import layout as files
from tfrs_twotower.data import stored_tables
from tfrs_twotower.errors import CorruptArtifact
from tfrs_twotower.evaluation import evaluated_data
from tfrs_twotower.specs import SPLITS

_CODED = ("query_id", "candidate_id", "split")
"""Columns of the interactions that are never text: each distinct value is read once."""


def read_frequencies(
    directory: Path, ids: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positive interactions of each candidate, `[len(ids)]`: in training, and in its last days."""
    table = stored_tables.read_table(directory, files.FREQUENCIES_GLOB)
    places = pc.index_in(
        pa.array(ids, pa.string()), table["candidate_id"].combine_chunks().cast(pa.string())
    )
    known = places.is_valid().to_numpy(zero_copy_only=False)
    order = pc.fill_null(places, 0).to_numpy(zero_copy_only=False)
    counts, recent_counts = (
        np.where(known, table[name].to_numpy()[order], 0).astype(np.int64)
        for name in ("count", "recent_count")
    )
    return counts, recent_counts


def read_interactions(directory: Path, ids: list[str]) -> evaluated_data.InteractionLog:
    """All interactions with candidates of the corpus.

    Raises:
        CorruptArtifact: a split is unknown.
    """
    table = stored_tables.read_table(directory, files.INTERACTIONS_GLOB, codes=_CODED)
    query, candidate, split = (table[name].unify_dictionaries().combine_chunks() for name in _CODED)
    rows = _places(candidate, ids)
    splits = _places(split, list(SPLITS))
    if (splits < 0).any():
        raise CorruptArtifact(
            f"{directory}/{files.INTERACTIONS_GLOB}: a split is not one of "
            f"{', '.join(SPLITS)}. Run preprocess again."
        )
    kept = rows >= 0
    queries = query.indices.to_numpy()[kept]
    in_use = np.bincount(queries, minlength=len(query.dictionary)) > 0
    return evaluated_data.InteractionLog(
        query_ids=query.dictionary.filter(pa.array(in_use)).to_pylist(),
        query=(np.cumsum(in_use) - 1)[queries],
        candidate=rows[kept],
        timestamp=table["timestamp"].to_numpy()[kept].astype(np.int64, copy=False),
        positive=table["positive"].to_numpy()[kept].astype(bool, copy=False),
        split=splits[kept],
    )


def _places(column: pa.DictionaryArray, values: list[str]) -> NDArray[np.int64]:
    """The place of each cell among the values, -1 for a cell that is none of them."""
    places = pc.index_in(column.dictionary.cast(pa.string()), pa.array(values, pa.string()))
    known = pc.fill_null(places, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return known[column.indices.to_numpy()]
