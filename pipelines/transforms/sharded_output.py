"""Writes every file of an artifact: one shard at a time, sorted, with the same bytes every time.

All outputs go through one grouping. An element is `((name, shard), item)`; the items of a shard
are sorted and written in the output's format. A worker holds a whole shard in memory while it sorts
it; more shards take less memory.
"""

import gzip
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines.transforms.tfrecords import frame
from tfrs_twotower.specs import SPLITS

ITEMS = "items"
"""Tag of the outputs that hold elements for `WriteShards`."""
_GZIP_LEVEL = 6
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


@dataclass(frozen=True)
class Output:
    """A set of files with one name and format."""

    write: Callable[[IO[bytes], list[Any]], None]
    """Writes the sorted items of a shard."""
    suffix: str
    num_shards: int
    """Number of files; 0 is one file without a shard number."""


class WriteShards(beam.PTransform):
    """Writes `((name, shard), item)` to `<directory>/<name>-SSSSS-of-NNNNN<suffix>`.

    A shard without items is written as well, so that a lost shard shows as a missing file.
    """

    def __init__(self, directory: str, outputs: Mapping[str, Output]) -> None:
        super().__init__()
        self._directory = directory
        self._outputs = dict(outputs)

    def expand(self, items: beam.PCollection) -> beam.PCollection:
        """Groups by file, sorts and writes."""
        every_file = [
            ((name, shard), None)
            for name, output in self._outputs.items()
            for shard in range(max(output.num_shards, 1))
        ]
        return (
            (items, items.pipeline | "EveryFile" >> beam.Create(every_file))
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.ParDo(_WriteFile(self._directory, self._outputs))
        )


class _WriteFile(beam.DoFn):
    def __init__(self, directory: str, outputs: Mapping[str, Output]) -> None:
        self._directory = directory
        self._outputs = outputs

    def process(self, element: tuple[tuple[str, int], Iterable[Any]]) -> Iterable[str]:
        (name, shard), values = element
        output = self._outputs[name]
        items = sorted(value for value in values if value is not None)
        number = f"-{shard:05d}-of-{output.num_shards:05d}" if output.num_shards else ""
        path = FileSystems.join(self._directory, *f"{name}{number}{output.suffix}".split("/"))
        with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            output.write(stream, items)
        yield path


def write_tfrecords(stream: IO[bytes], items: list[Any]) -> None:
    """Writes the last part of each item as a record; gzip without a time stamp."""
    with gzip.GzipFile(
        filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=stream, mtime=0
    ) as zipped:
        for item in items:
            zipped.write(frame(item[-1]))


def write_lines(stream: IO[bytes], items: list[Any]) -> None:
    """Writes the last part of each item as a line of text."""
    for item in items:
        stream.write(f"{item[-1]}\n".encode())


def write_json_lines(stream: IO[bytes], items: list[Any]) -> None:
    """Writes each item as a line of JSON."""
    for item in items:
        stream.write(f"{json.dumps(item)}\n".encode())


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
