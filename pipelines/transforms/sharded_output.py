"""Sharded output files, byte for byte the same in every run: TFRecord, Arrow, Parquet, text."""

import gzip
import json
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines.transforms import batches, example_columns

ITEMS = "items"
"""Tag of the outputs that hold elements for `WriteShards`."""
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
_LENGTH = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_GZIP_LEVEL = 1
_ROW_GROUP = 1 << 18
_NUMBER = ".number"
COUNTS_SCHEMA = pa.schema([("value", pa.string()), ("count", pa.int64())])
"""Columns of counts, the tables of vocabularies."""


@dataclass(frozen=True)
class Output:
    """A set of files with one name and format."""

    write: Callable[[IO[bytes], Any], int | None]
    """Writes a table, or the sorted items of a shard; returns how many it wrote if not all."""
    suffix: str
    """End of the file names, such as `.parquet`."""
    num_shards: int
    """Number of files; 0 is one file without a shard number."""
    of_table: bool = False
    """Whether a shard is a table, which comes in packed parts."""


class ShardFiles:
    """The files of all outputs; the number of items of each is written beside it.

    The numbers are written past the engine, whose losses they show.

    Args:
        directory: where all files are written.
        outputs: how each output is written, by name.
        numbers: directory in it for the numbers of items; `read_numbers` reads them.
    """

    def __init__(self, directory: str, outputs: Mapping[str, Output], numbers: str) -> None:
        self.outputs = dict(outputs)
        self._directory = directory
        self._numbers = numbers

    def write(self, name: str, shard: int, items: Any) -> tuple[str, int]:
        """Writes one file, `<directory>/<name>-SSSSS-of-NNNNN<suffix>`.

        Returns:
            Its path, and the number of items.
        """
        output = self.outputs[name]
        number = f"-{shard:05d}-of-{output.num_shards:05d}" if output.num_shards else ""
        path = self._path(f"{name}{number}{output.suffix}")
        with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            written = output.write(stream, items)
        number_written = len(items) if written is None else written
        beside = self._path(f"{self._numbers}/{name}{number}{_NUMBER}")
        with FileSystems.create(beside, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            stream.write(json.dumps([name, number_written]).encode())
        return path, number_written

    def _path(self, name: str) -> str:
        return FileSystems.join(self._directory, *name.split("/"))


class WriteShards(beam.PTransform):
    """Writes `((name, shard), item)` to the files of some outputs.

    An item is sorted among the others of its file, or a packed part of a table. A shard without
    items is written as well, so that a lost shard shows as a missing file.
    """

    def __init__(self, files: ShardFiles, names: Iterable[str]) -> None:
        super().__init__()
        self._files = files
        self._names = list(names)

    def expand(self, items: beam.PCollection) -> beam.PCollection:
        """Groups by file, sorts and writes; gives the paths."""
        every_file = [
            ((name, shard), None)
            for name in self._names
            for shard in range(max(self._files.outputs[name].num_shards, 1))
        ]
        return (
            (items, items.pipeline | "EveryFile" >> beam.Create(every_file))
            | beam.Flatten()
            | beam.GroupByKey()
            | beam.Map(_write_file, self._files)
        )


def _write_file(element: tuple[tuple[str, int], Iterable[Any]], files: ShardFiles) -> str:
    (name, shard), values = element
    items = [value for value in values if value is not None]
    if files.outputs[name].of_table:
        return files.write(name, shard, batches.unpacked(items, COUNTS_SCHEMA))[0]
    return files.write(name, shard, sorted(items))[0]


def every_shard(root: Any, num_shards: int) -> beam.PCollection:
    """A key for each shard, so that one without anything is written as well."""
    return root | "EveryShard" >> beam.Create([(shard, (-1, b"")) for shard in range(num_shards)])


def read_numbers(directory: Path) -> Counter[str]:
    """The number of items that were written to each output, by its name."""
    numbers: Counter[str] = Counter()
    for path in directory.rglob(f"*{_NUMBER}"):
        name, number = json.loads(path.read_text(encoding="utf-8"))
        numbers[name] += number
    return numbers


def frame(payload: bytes) -> bytes:
    """The bytes of one record in a TFRecord file."""
    length = struct.pack("<Q", len(payload))
    return b"".join(
        (
            length,
            _CRC.pack(example_columns.masked_crc(length)),
            payload,
            _CRC.pack(example_columns.masked_crc(payload)),
        )
    )


def read_frames(stream: IO[bytes]) -> Iterator[bytes | None]:
    """Payloads of a TFRecord stream; None for a payload that does not match its checksum.

    Raises:
        ValueError: the stream ends inside a record, or the length of a record is damaged, so that
            the next record cannot be found.
    """
    while head := stream.read(_LENGTH.size):
        if len(head) < _LENGTH.size:
            raise ValueError("the file ends inside a record")
        length, length_crc = _LENGTH.unpack(head)
        if example_columns.masked_crc(head[:8]) != length_crc:
            raise ValueError("a record's length does not match its checksum")
        payload = stream.read(length)
        tail = stream.read(_CRC.size)
        if len(payload) < length or len(tail) < _CRC.size:
            raise ValueError("the file ends inside a record")
        yield payload if _CRC.unpack(tail)[0] == example_columns.masked_crc(payload) else None


def write_tfrecords(stream: IO[bytes], table: pa.Table) -> None:
    """Writes each row as an example; gzip without a time stamp."""
    with gzip.GzipFile(
        filename="", mode="wb", compresslevel=_GZIP_LEVEL, fileobj=stream, mtime=0
    ) as zipped:
        example_columns.write_examples(table, zipped.write)


def write_lines(stream: IO[bytes], items: list[Any]) -> None:
    """Writes the last part of each item as a line of text."""
    for item in items:
        stream.write(f"{item[-1]}\n".encode())


def write_json_lines(stream: IO[bytes], items: list[Any]) -> None:
    """Writes each item as a line of JSON."""
    for item in items:
        stream.write(f"{json.dumps(item)}\n".encode())


def write_parquet(schema: pa.Schema, stream: IO[bytes], table: pa.Table) -> None:
    """Writes the columns of a schema, in its types."""
    own = table.select(schema.names).cast(schema)
    pq.write_table(own, stream, row_group_size=_ROW_GROUP, compression="zstd")


def write_values(stream: IO[bytes], table: pa.Table) -> None:
    """Writes the values of counts, the most frequent first, of equals the first by name."""
    for value in most_frequent(table)["value"].to_pylist():
        stream.write(f"{value}\n".encode())


def write_counts(stream: IO[bytes], table: pa.Table) -> None:
    """Writes values and counts, in the same order, as Parquet."""
    write_parquet(COUNTS_SCHEMA, stream, most_frequent(table))


def most_frequent(table: pa.Table, number: int | None = None) -> pa.Table:
    """The largest counts (all of them by default), of equal ones the first values by name."""
    if not table.num_rows:
        return table
    order = [("count", "descending"), ("value", "ascending")]
    return table.take(pc.sort_indices(table, sort_keys=order)).slice(0, number)
