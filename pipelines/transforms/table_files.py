"""Reads one file of a table record by record, in memory that does not grow with the file.

A record has a position: one integer that orders records by file and by their place in it. Text is
read by the room `tfrs_twotower.tables`; Parquet and TFRecord here.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines.transforms.sharded_output import read_frames
from tfrs_twotower.specs.tables import TableFormat
from tfrs_twotower.tables.delimited import FileNotes, Record, read_delimited
from tfrs_twotower.tables.encodings import read_head, refuse_guess
from tfrs_twotower.tables.files import Opener, decompressed, malformed_in, unreadable_as_such
from tfrs_twotower.tables.json_records import is_array, json_encoding, read_json_records
from tfrs_twotower.tables.sniffing import find_form
from tfrs_twotower.tables.text_forms import Declared, TextForm

_FILE_SHIFT = 44
_GROUP_SHIFT = 24
_PARQUET_ROW_MASK = (1 << _GROUP_SHIFT) - 1
_IN_FILE_MASK = (1 << _FILE_SHIFT) - 1
_PARQUET_BATCH = 1 << 16


def position_of(file_number: int, number_in_file: int) -> int:
    """The position of a record; `number_in_file` starts at 1."""
    return (file_number << _FILE_SHIFT) | number_in_file


def parquet_number(row_group: int, row: int) -> int:
    """The number of a row in a Parquet file: by row group, then by row (both from 0)."""
    return (row_group << _GROUP_SHIFT) | row


@dataclass(frozen=True)
class FileForm:
    """How one file is written, beyond the format of its table."""

    text: TextForm | None = None
    """Of a CSV or TSV."""
    encoding: str = "utf-8"
    """Of a JSON file."""
    is_array: bool = False
    """Whether a JSON file is one array."""


def describe_position(
    position: int, files: Sequence[str], file_format: str, *, is_array: bool = False
) -> str:
    """The position in words, such as `ratings.csv:17` or `a.parquet: row group 0, row 16`."""
    path = files[position >> _FILE_SHIFT]
    number = position & _IN_FILE_MASK
    if file_format == "parquet":
        return f"{path}: row group {number >> _GROUP_SHIFT}, row {number & _PARQUET_ROW_MASK}"
    if file_format == "tfrecord":
        return f"{path}: record {number}"
    return f"{path}: element {number}" if is_array else f"{path}:{number}"


def file_number_of(position: int) -> int:
    """The number of the file that a position is in."""
    return position >> _FILE_SHIFT


def opener_of(path: str) -> Opener:
    """Opens a file of any of Beam's file systems from its start, decompressed."""

    @contextmanager
    def open_file() -> Iterator[IO[bytes]]:
        with (
            FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED) as raw,
            decompressed(raw) as stream,
        ):
            yield stream

    return open_file


def find_file_form(
    path: str, file_format: TableFormat, declared: Declared, *, may_guess: bool = False
) -> FileForm:
    """Finds out how a file is written.

    Args:
        path: the file.
        file_format: its format.
        declared: what the spec says.
        may_guess: whether an encoding may be guessed.

    Raises:
        MalformedTable: it is no text of this format, or its encoding can only be guessed.
    """
    if file_format not in ("csv", "tsv", "jsonl"):
        return FileForm()
    with unreadable_as_such(path), opener_of(path)() as stream:
        head = read_head(stream)
    with malformed_in(path):
        if file_format == "jsonl":
            encoding = json_encoding(head, declared.encoding, may_guess=may_guess)
            return FileForm(encoding=encoding, is_array=is_array(head, encoding))
        form = find_form(head, "," if file_format == "csv" else "\t", declared)
        if not may_guess:
            refuse_guess(form.encoding)
        return FileForm(text=form)


def read_table_file(
    path: str,
    file_format: TableFormat,
    columns: Sequence[str],
    form: FileForm | None = None,
    notes: FileNotes | None = None,
    ids: Sequence[str] = (),
) -> Iterator[Record]:
    """Reads some columns of one file; the cell of a column that a record lacks is None.

    Args:
        path: the file.
        file_format: its format.
        columns: names of the columns, in the order of the cells.
        form: how it is written; by default that is found out.
        notes: receives what is worth saying about the file.
        ids: those of the columns that hold ids, whose text is never repaired.

    Raises:
        UnreadableFile: the rest of the file cannot be read.
    """
    form = form or find_file_form(path, file_format, Declared())
    open_file, notes = opener_of(path), notes or FileNotes()
    with unreadable_as_such(path, pa.ArrowException):
        if form.text is not None:
            yield from read_delimited(path, open_file, form.text, columns, notes)
        elif file_format == "jsonl":
            yield from read_json_records(
                *(path, open_file, form.encoding, columns, notes),
                array=form.is_array,
                ids=ids,
            )
        else:
            with open_file() as stream:
                read = _read_parquet if file_format == "parquet" else _read_tfrecord
                yield from read(stream, columns)


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


def _read_parquet(stream: IO[bytes], columns: Sequence[str]) -> Iterator[Record]:
    table = pq.ParquetFile(stream)
    for group in range(table.num_row_groups):
        for first, arrays in _group_columns(table, group, columns):
            lists = [python_values(array) for array in arrays]
            for row, values in enumerate(zip(*lists, strict=True), start=first):
                yield parquet_number(group, row), values, ""


def _group_columns(
    table: pq.ParquetFile, group: int, columns: Sequence[str]
) -> Iterator[tuple[int, list[pa.Array]]]:
    """The first row, and the columns, of each batch of a row group."""
    present = [column for column in columns if column in table.schema_arrow.names]
    row = 0
    for batch in table.iter_batches(_PARQUET_BATCH, row_groups=[group], columns=present):
        yield (
            row,
            [
                batch.column(name) if name in present else pa.nulls(batch.num_rows)
                for name in columns
            ],
        )
        row += batch.num_rows


def read_row_group(
    path: str, group: int, columns: Sequence[str]
) -> Iterator[tuple[int, list[pa.Array]]]:
    """The number in the file of the first row, and the columns, of each batch of a row group.

    Raises:
        UnreadableFile: the rest of the file cannot be read.
    """
    with unreadable_as_such(path, pa.ArrowException), opener_of(path)() as stream:
        for row, arrays in _group_columns(pq.ParquetFile(stream), group, columns):
            yield parquet_number(group, row), arrays


def row_groups(path: str) -> list[int]:
    """The numbers of rows of the row groups of a Parquet file."""
    with unreadable_as_such(path, pa.ArrowException), opener_of(path)() as stream:
        metadata = pq.ParquetFile(stream).metadata
        return [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]


def python_values(column: pa.Array) -> list[Any]:
    """The cells of a column of Parquet; times in microseconds."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    return column.to_pylist()


def read_examples(stream: IO[bytes]) -> Iterator[tuple[int, dict[str, Any] | None, str]]:
    """The numbers and values of a TFRecord's examples, or the reason why there are none."""
    for number, payload in enumerate(read_frames(stream), start=1):
        if payload is None:
            yield number, None, "does not match its checksum"
            continue
        try:
            yield number, example_values(payload), ""
        except UnicodeDecodeError:
            yield number, None, "not valid UTF-8"
        except ValueError:
            yield number, None, "not a tf.train.Example"


def _read_tfrecord(stream: IO[bytes], columns: Sequence[str]) -> Iterator[Record]:
    for number, record, reason in read_examples(stream):
        cells = None if record is None else tuple([record.get(column) for column in columns])
        yield number, cells, reason
