"""The two Parquet outputs: interactions with their split, and candidates' frequencies."""

from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.transforms.splits import SPLITS

INTERACTIONS_SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        ("candidate_id", pa.string()),
        ("timestamp", pa.int64()),
        ("label", pa.float32()),
        ("weight", pa.float32()),
        ("split", pa.string()),
        ("positive", pa.bool_()),
    ]
)
FREQUENCIES_SCHEMA = pa.schema(
    [("candidate_id", pa.string()), ("count", pa.int64()), ("recent_count", pa.int64())]
)
_ROW_GROUP = 1 << 18


def write_interactions(stream: IO[bytes], items: list[Any]) -> None:
    """Writes `(query id, timestamp, candidate id, position, label, weight, split, positive)`."""
    query_ids, times, candidate_ids, _, labels, weights, splits, positives = _columns(items, 8)
    names = [SPLITS[code] for code in splits]
    _write(
        stream,
        INTERACTIONS_SCHEMA,
        [query_ids, candidate_ids, times, labels, weights, names, positives],
    )


def write_frequencies(stream: IO[bytes], items: list[Any]) -> None:
    """Writes `(candidate id, count, recent count)`."""
    _write(stream, FREQUENCIES_SCHEMA, _columns(items, 3))


def _columns(items: list[Any], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*items, strict=True)] or [[] for _ in range(width)]


def _write(stream: IO[bytes], schema: pa.Schema, columns: list[list[Any]]) -> None:
    arrays = [pa.array(c, type=field.type) for c, field in zip(columns, schema, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=schema)
    pq.write_table(table, stream, row_group_size=_ROW_GROUP, compression="zstd")
