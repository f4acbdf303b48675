"""The queries of a working directory, each as a server should be asked for it now.

Preprocessing writes them: the features of the queries' table, and histories over all events so
far, those of the validation and test windows too. `twotower query --query-id` asks for one of them.
Nothing here loads TensorFlow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tfrs_twotower import specs
from tfrs_twotower.artifacts import Layout, read_manifest, shard_of
from tfrs_twotower.artifacts.layout import QUERIES_GLOB
from tfrs_twotower.data.ids import did_you_mean_id
from tfrs_twotower.data.shards import find_shards
from tfrs_twotower.errors import CorruptArtifact, DataError, MissingArtifact

_ID, SEEN = "_query_id", "_seen"


@dataclass(frozen=True)
class KnownQuery:
    """One query of a working directory."""

    query_id: str
    values: dict[str, Any]
    """Raw value of each feature: text, a number, a time in seconds, or a list of texts; None where
    it is the time of the request."""
    seen: list[str]
    """Candidates that an answer leaves out where only new ones count (`split.new_pairs_only`)."""


def schema_of(features: Sequence[specs.Feature]) -> pa.Schema:
    """Columns of `queries-*.parquet`: the id, the seen candidates, the features in their order."""
    texts = pa.list_(pa.string())
    return pa.schema(
        [
            (_ID, pa.string()),
            (SEEN, texts),
            *((feature.name, _type_of(feature, texts)) for feature in features),
        ]
    )


def _type_of(feature: specs.Feature, texts: pa.DataType) -> pa.DataType:
    if isinstance(feature, specs.HistoryFeature | specs.MultiCategoricalFeature):
        return texts
    if isinstance(feature, specs.NumericFeature):
        return pa.float32()
    return pa.int64() if isinstance(feature, specs.TimestampFeature) else pa.string()


def read_known_query(workdir: Path, query_id: str) -> KnownQuery:
    """Reads one query.

    Args:
        workdir: the working directory, in which preprocessing has finished.
        query_id: id of the query, as in the tables.

    Raises:
        MissingArtifact: the working directory has no queries.
        CorruptArtifact: they cannot be read.
        DataError: there is no such query.
    """
    directory = Layout(workdir).preprocessed
    if not directory.is_dir():
        raise MissingArtifact(
            f"{workdir}: has no {directory.name}/, from which the features and the history of "
            f"query {query_id!r} would be read. Name the working directory of a run with "
            "--workdir, or give the features with --set."
        )
    read_manifest(directory, "preprocessed")
    try:
        paths = find_shards(directory, QUERIES_GLOB)
    except MissingArtifact:
        raise MissingArtifact(
            f"{directory}: there is no file {QUERIES_GLOB}: an earlier version of the package "
            "wrote it. Run `twotower preprocess` again, or give the features with --set."
        ) from None
    try:
        found = pq.read_table(
            paths[shard_of(query_id, len(paths))], filters=pc.field(_ID) == query_id
        ).to_pylist()
        ids = [] if found else [id_ for path in paths for id_ in _ids_of(path)]
    except (OSError, KeyError, pa.ArrowException) as cause:
        raise CorruptArtifact(
            f"{directory}: its queries cannot be read: {cause}. Run `twotower preprocess` again."
        ) from cause
    if not found:
        raise DataError(
            f"{directory}: there is no query {query_id!r}{did_you_mean_id(query_id, ids)} among "
            f"{len(ids):,}. Give an id of the tables, or the features of a new query with --set."
        )
    values = found[0]
    return KnownQuery(values.pop(_ID), values, values.pop(SEEN))


def _ids_of(path: Path) -> list[str]:
    ids: list[str] = pq.read_table(path, columns=[_ID])[_ID].to_pylist()
    return ids
