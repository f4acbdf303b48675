"""Sharded output files, byte for byte the same in every run: TFRecord, Arrow, Parquet, text."""

import gzip
import json
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import apache_beam as beam
import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from tensorflow.core.example import example_pb2

from pipelines.transforms.records import Value
from tfrs_twotower.data import example_shards, known_queries
from tfrs_twotower.data.example_shards import EVENT_COLUMNS
from tfrs_twotower.specs import SPLITS, Feature, FeatureSpec, NumericFeature, TimestampFeature

ITEMS = "items"
"""Tag of the outputs that hold elements for `WriteShards`."""
Example = example_pb2.Example
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
_GZIP_LEVEL = 6
_ROW_GROUP = 1 << 18
_NUMBER = ".number"


@dataclass(frozen=True)
class Output:
    """A set of files with one name and format."""

    write: Callable[[IO[bytes], list[Any]], int | None]
    """Writes the sorted items of a shard; returns how many it wrote if an item becomes several."""
    suffix: str
    """End of the file names, such as `.parquet`."""
    num_shards: int
    """Number of files; 0 is one file without a shard number."""


class WriteShards(beam.PTransform):
    """Writes `((name, shard), item)` to `<directory>/<name>-SSSSS-of-NNNNN<suffix>`.

    A shard without items is written as well, so that a lost shard shows as a missing file. The
    number of items of each file is written beside them, past the engine, whose losses it shows.
    """

    def __init__(self, directory: str, outputs: Mapping[str, Output], numbers: str) -> None:
        """Takes the outputs.

        Args:
            directory: where all files are written.
            outputs: how each output is written, by name.
            numbers: directory in it for the numbers of items; `read_numbers` reads them.
        """
        super().__init__()
        self._directory = directory
        self._outputs = dict(outputs)
        self._numbers = numbers

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
            | beam.ParDo(_WriteFile(self._directory, self._outputs, self._numbers))
        )


class _WriteFile(beam.DoFn):
    def __init__(self, directory: str, outputs: Mapping[str, Output], numbers: str) -> None:
        self._directory = directory
        self._outputs = outputs
        self._numbers = numbers

    def process(self, element: tuple[tuple[str, int], Iterable[Any]]) -> Iterable[str]:
        (name, shard), values = element
        output = self._outputs[name]
        items = sorted(value for value in values if value is not None)
        number = f"-{shard:05d}-of-{output.num_shards:05d}" if output.num_shards else ""
        path = self._path(f"{name}{number}{output.suffix}")
        with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            number_written = output.write(stream, items)
        beside = self._path(f"{self._numbers}/{name}{number}{_NUMBER}")
        with FileSystems.create(beside, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            written = len(items) if number_written is None else number_written
            stream.write(json.dumps([name, written]).encode())
        yield path

    def _path(self, name: str) -> str:
        return FileSystems.join(self._directory, *name.split("/"))


def read_numbers(directory: Path) -> Counter[str]:
    """The number of items that were written to each output, by its name."""
    numbers: Counter[str] = Counter()
    for path in directory.rglob(f"*{_NUMBER}"):
        name, number = json.loads(path.read_text(encoding="utf-8"))
        numbers[name] += number
    return numbers


def put_values(example: Any, features: Sequence[Feature], values: Sequence[Value]) -> None:
    """Sets the features whose value is not None; values of the others come from events."""
    for feature, value in zip(features, values, strict=True):
        if value is not None:
            put_value(example, feature, value)


def put_value(example: Any, feature: Feature, value: Value) -> None:
    """Sets one feature of an example to a value as in `Entity.values`, or to a history."""
    slot = example.features.feature[feature.name]
    if isinstance(feature, NumericFeature):
        slot.float_list.value.append(value)
    elif isinstance(feature, TimestampFeature):
        slot.int64_list.value.append(value)
    elif isinstance(value, str):
        slot.bytes_list.value.append(value.encode("utf-8"))
    else:
        slot.bytes_list.value.extend([part.encode("utf-8") for part in value])  # type: ignore[union-attr]
        slot.bytes_list.SetInParent()


def put_texts(example: Any, key: str, texts: Iterable[str]) -> None:
    """Sets a list of strings, possibly empty."""
    slot = example.features.feature[key].bytes_list
    slot.SetInParent()
    slot.value.extend([text.encode("utf-8") for text in texts])


def put_number(example: Any, key: str, number: int) -> None:
    """Sets one integer."""
    example.features.feature[key].int64_list.value.append(number)


def put_floats(example: Any, key: str, numbers: Iterable[float]) -> None:
    """Sets a list of floats, possibly empty."""
    slot = example.features.feature[key].float_list
    slot.SetInParent()
    slot.value.extend(numbers)


def serialise(example: Any) -> bytes:
    """The bytes of an example, with its features in the order of their names."""
    return example.SerializeToString(deterministic=True)


def frame(payload: bytes) -> bytes:
    """The bytes of one record in a TFRecord file."""
    length = struct.pack("<Q", len(payload))
    return b"".join(
        (length, _CRC.pack(_masked_crc(length)), payload, _CRC.pack(_masked_crc(payload)))
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
        if _masked_crc(head[:8]) != length_crc:
            raise ValueError("a record's length does not match its checksum")
        payload = stream.read(length)
        tail = stream.read(_CRC.size)
        if len(payload) < length or len(tail) < _CRC.size:
            raise ValueError("the file ends inside a record")
        yield payload if _CRC.unpack(tail)[0] == _masked_crc(payload) else None


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


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
    _write_table(
        stream,
        INTERACTIONS_SCHEMA,
        [query_ids, candidate_ids, times, labels, weights, names, positives],
    )


def write_training(spec: FeatureSpec, split: int, stream: IO[bytes], items: list[Any]) -> int:
    """Writes the examples of `query_examples.TrainingItem`s; returns their number."""
    schema = example_shards.queries_schema(spec.query.features)
    ids, values, events = _columns(items, 3)
    queries = _table(schema, [ids, *_columns(values, len(schema) - 1)])
    numbers = np.array([len(own) for own in events], np.int64)
    owners = np.repeat(np.arange(len(items)), numbers)
    of_events = _columns([cells for own in events for cells in own], len(EVENT_COLUMNS) - 1)
    return example_shards.write_examples(
        stream, spec, split, queries, _table(EVENT_COLUMNS, [owners, *of_events])
    )


def write_queries(features: Sequence[Feature], stream: IO[bytes], items: list[Any]) -> None:
    """Writes `(query id, seen candidate ids, value of each feature)`."""
    schema = known_queries.schema_of(features)
    _write_table(stream, schema, _columns(items, len(schema)))


def write_frequencies(stream: IO[bytes], items: list[Any]) -> None:
    """Writes `(candidate id, count, recent count)`."""
    _write_table(stream, FREQUENCIES_SCHEMA, _columns(items, 3))


def _columns(items: list[Any], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*items, strict=True)] or [[] for _ in range(width)]


def _table(schema: pa.Schema, columns: list[Any]) -> pa.Table:
    arrays = [pa.array(c, type=field.type) for c, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _write_table(stream: IO[bytes], schema: pa.Schema, columns: list[list[Any]]) -> None:
    table = _table(schema, columns)
    pq.write_table(table, stream, row_group_size=_ROW_GROUP, compression="zstd")
