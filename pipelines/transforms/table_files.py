"""Reads one file of a table record by record, in memory that does not grow with the file.

A record has a position: one integer that orders records by file and by their place in it.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines.transforms.sharded_output import read_frames
from tfrs_twotower.specs.tables import TableFormat

_FILE_SHIFT = 44
_GROUP_SHIFT = 24
_PARQUET_ROW_MASK = (1 << _GROUP_SHIFT) - 1
_IN_FILE_MASK = (1 << _FILE_SHIFT) - 1
Record = tuple[int, tuple[Any, ...] | None, str]
"""Number in the file, cells, and the reason why there are no cells, else ""."""
NOT_UTF8 = "not valid UTF-8"
_LONGEST_FIELD = 1 << 24
_NOT_CSV = "\udc00"  # decoding cannot produce it, so it marks the parser's message
_PARQUET_BATCH = 4096


def position_of(file_number: int, number_in_file: int) -> int:
    """The position of a record; `number_in_file` starts at 1."""
    return (file_number << _FILE_SHIFT) | number_in_file


def parquet_number(row_group: int, row: int) -> int:
    """The number of a row in a Parquet file: by row group, then by row (both from 0)."""
    return (row_group << _GROUP_SHIFT) | row


def describe_position(position: int, files: Sequence[str], file_format: str) -> str:
    """The position in words, such as `ratings.csv:17` or `a.parquet: row group 0, row 16`."""
    path = files[position >> _FILE_SHIFT]
    number = position & _IN_FILE_MASK
    if file_format == "parquet":
        return f"{path}: row group {number >> _GROUP_SHIFT}, row {number & _PARQUET_ROW_MASK}"
    if file_format == "tfrecord":
        return f"{path}: record {number}"
    return f"{path}:{number}"


class UnreadableFile(Exception):
    """The rest of a file cannot be read, because it is cut off or damaged."""


@contextmanager
def open_table_file(path: str) -> Iterator[IO[bytes]]:
    """Opens a file of any of Beam's file systems, and decompresses `.gz`."""
    with FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as raw:
        if path.endswith(".gz"):
            with gzip.open(raw) as unzipped:
                yield cast(IO[bytes], unzipped)
        else:
            yield raw


def read_table_file(
    path: str, file_format: TableFormat, columns: Sequence[str]
) -> Iterator[Record]:
    """Reads some columns of one file; the cell of a column that a record lacks is None.

    Raises:
        UnreadableFile: the rest of the file cannot be read.
    """
    try:
        with open_table_file(path) as stream:
            match file_format:
                case "csv":
                    yield from _read_delimited(stream, columns, ",", csv.QUOTE_MINIMAL)
                case "tsv":
                    yield from _read_delimited(stream, columns, "\t", csv.QUOTE_NONE)
                case "jsonl":
                    yield from _read_json_lines(stream, columns)
                case "parquet":
                    yield from _read_parquet(stream, columns)
                case "tfrecord":
                    yield from _read_tfrecord(stream, columns)
    except (OSError, EOFError, ValueError, zlib.error, pa.ArrowException) as cause:
        raise UnreadableFile(f"{path}: cannot be read to its end: {cause}") from cause


def read_header(stream: IO[bytes], delimiter: str, quoting: int) -> list[str]:
    """The column names of a delimited file; empty if the file is."""
    return next(_delimited_rows(stream, delimiter, quoting), (0, []))[1]


def example_values(payload: bytes) -> dict[str, Any]:
    """The features of a serialised `tf.train.Example`; a list of one value becomes the value.

    Raises:
        ValueError: the bytes are not an example.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.example import example_pb2

    try:
        features = example_pb2.Example.FromString(payload).features.feature
    except DecodeError as cause:
        raise ValueError(str(cause)) from cause
    values: dict[str, Any] = {}
    for name, feature in features.items():
        kind = feature.WhichOneof("kind")
        items = list(getattr(feature, kind).value) if kind else []
        if kind == "bytes_list":
            items = [item.decode("utf-8") for item in items]
        values[name] = (items[0] if len(items) == 1 else items) if items else None
    return values


def _delimited_rows(
    stream: IO[bytes], delimiter: str, quoting: int
) -> Iterator[tuple[int, list[str]]]:
    # Broken UTF-8 passes through the CSV parser as lone surrogates, so that quoting and line
    # numbers stay right, and only the record with the broken bytes is lost.
    csv.field_size_limit(_LONGEST_FIELD)
    first = True
    with io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="") as text:
        rows = csv.reader(text, delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
        while True:
            line = rows.line_num + 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as cause:
                yield line, [f"{_NOT_CSV}{cause}"]
                continue
            if first and row:
                row[0] = row[0].removeprefix("\ufeff")
            if row:
                first = False
                yield line, row


def _read_delimited(
    stream: IO[bytes], columns: Sequence[str], delimiter: str, quoting: int
) -> Iterator[Record]:
    rows = _delimited_rows(stream, delimiter, quoting)
    header = next(rows, (0, []))[1]
    width = len(header)
    wanted = [header.index(column) if column in header else None for column in columns]
    for line, row in rows:
        if len(row) != width:
            if len(row) == 1 and row[0].startswith(_NOT_CSV):
                yield line, None, f"not CSV: {row[0].removeprefix(_NOT_CSV)}"
            else:
                yield line, None, f"has another number of fields than the header's {width}"
            continue
        values = tuple([None if at is None else row[at] for at in wanted])
        if any(value is not None and not _is_clean(value) for value in values):
            yield line, None, NOT_UTF8
        else:
            yield line, values, ""


def _is_clean(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _read_json_lines(stream: IO[bytes], columns: Sequence[str]) -> Iterator[Record]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError:
            yield number, None, NOT_UTF8
            continue
        except ValueError:
            yield number, None, "not a JSON value"
            continue
        if not isinstance(record, dict):
            yield number, None, "not a JSON object"
            continue
        yield number, tuple([record.get(column) for column in columns]), ""


def _read_parquet(stream: IO[bytes], columns: Sequence[str]) -> Iterator[Record]:
    table = pq.ParquetFile(stream)
    present = [column for column in columns if column in table.schema_arrow.names]
    for group in range(table.num_row_groups):
        row = 0
        for batch in table.iter_batches(_PARQUET_BATCH, row_groups=[group], columns=present):
            by_name = {name: _python_values(batch.column(name)) for name in present}
            nothing = [None] * batch.num_rows
            for values in zip(*[by_name.get(column, nothing) for column in columns], strict=True):
                yield parquet_number(group, row), values, ""
                row += 1


def _python_values(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    return column.to_pylist()


def _read_tfrecord(stream: IO[bytes], columns: Sequence[str]) -> Iterator[Record]:
    for number, payload in enumerate(read_frames(stream), start=1):
        if payload is None:
            yield number, None, "does not match its checksum"
            continue
        try:
            record = example_values(payload)
        except UnicodeDecodeError:
            yield number, None, NOT_UTF8
        except ValueError:
            yield number, None, "not a tf.train.Example"
        else:
            yield number, tuple([record.get(column) for column in columns]), ""
