"""Finds the files of a table, and checks their columns before a job starts."""

import csv
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems

from pipelines.transforms import sharded_output, table_files
from tfrs_twotower.artifacts import sha256_file
from tfrs_twotower.documents import user_path
from tfrs_twotower.errors import DataError, did_you_mean
from tfrs_twotower.specs.tables import Table, TableFormat

_LONGEST_HEAD = 1 << 16
_BYTE_ORDER_MARKS = ((b"\xff\xfe", "FF FE"), (b"\xfe\xff", "FE FF"))
_CONVERT = "Save it as UTF-8, for example with `iconv -f {encoding} -t UTF-8`."
_SEPARATORS = {"csv": (";", "\t", "|"), "tsv": (",", ";", "|")}
_SEPARATOR_NAMES = {"\t": "tabs", ",": "commas"}
_CHECKED_RECORDS = 100
_TEXT = ("csv", "tsv", "jsonl")
_RECORDS, _HEADER_ONLY, _EMPTY = "records", "a header but no record", "an empty file"


def explain_encoding(stream: IO[bytes]) -> str:
    """Explains why a text file is not UTF-8 and how to convert it; "" if it looks like UTF-8.

    UTF-16 shows in its byte order mark, or in NUL bytes in the first line.
    """
    head = stream.readline(_LONGEST_HEAD)
    for mark, name in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return (
                f"the file is not UTF-8: it begins with the byte order mark {name} of UTF-16. "
                + _CONVERT.format(encoding="UTF-16")
            )
    if b"\0" in head:
        return (
            "the file is not UTF-8: its first line holds NUL bytes, as UTF-16 without a byte order "
            "mark (or a binary file) does. "
            + _CONVERT.format(encoding="UTF-16BE" if head.startswith(b"\0") else "UTF-16LE")
        )
    return ""


def explain_header(table: str, header: Sequence[str], file_format: TableFormat) -> str:
    """Explains why a header may lack columns and what to do; "" if there is no sign of a reason."""
    if any("\udc80" <= character <= "\udcff" for name in header for character in name):
        return "The header is not UTF-8. " + _CONVERT.format(encoding="WINDOWS-1252")
    if len(header) != 1:
        return ""
    for separator in _SEPARATORS.get(file_format, ()):
        if separator in header[0]:
            actual = _SEPARATOR_NAMES.get(separator, f"`{separator}`")
            expected = "commas" if file_format == "csv" else "tabs"
            return (
                f"The columns seem to be separated by {actual}, not by {expected}: "
                + _separator_advice(table, separator)
            )
    return ""


def _separator_advice(table: str, separator: str) -> str:
    formats = {"\t": "tsv", ",": "csv"}
    if separator in formats:
        name = formats[separator]
        return f"rename the file to .{name}, or set {table}.format: {name} in the feature spec."
    return (
        "write the file with commas (and a text that holds one in quotes), or with tabs and the "
        "name .tsv."
    )


@dataclass(frozen=True)
class Source:
    """The files of one table, sorted by name, and the columns that are read."""

    table: str
    """`interactions`, `candidates` or `queries`."""
    files: tuple[str, ...]
    file_format: TableFormat
    columns: tuple[str, ...]

    def describe(self, position: int) -> str:
        """The file and place of a record, in words."""
        return table_files.describe_position(position, self.files, self.file_format)


def find_source(table: str, described: Table, columns: Sequence[str], data_root: Path) -> Source:
    """Finds the files of a table and checks that every file has the columns.

    Args:
        table: `interactions`, `candidates` or `queries`.
        described: the spec's description of the table.
        columns: columns that the spec reads; repetitions are dropped.
        data_root: directory where relative paths start.

    Raises:
        DataError: no file matches, all are empty, one cannot be read, or a column is missing.
    """
    pattern = described.path
    if "://" not in pattern:
        pattern = str(user_path(pattern, data_root))
    files = _match(table, pattern)
    source = Source(table, files, described.file_format, tuple(dict.fromkeys(columns)))
    contents = [_check_file(source, path) for path in files]
    if _RECORDS not in contents:
        holds = _HEADER_ONLY if _HEADER_ONLY in contents else _EMPTY
        raise DataError(
            f"{table}: {_shown(files)}: found {holds}; expected a record for each of the {table}. "
            f"Check how the file was written, or {table}.path in the feature spec."
        )
    return source


def content_identity(path: str) -> str:
    """Identifies a file's content: its SHA-256; for a remote file its path, size and time."""
    if "://" not in path:
        return sha256_file(Path(path))
    metadata = FileSystems.match([path])[0].metadata_list[0]
    return f"{path} {metadata.size_in_bytes} {metadata.last_updated_in_seconds}"


def _match(table: str, pattern: str) -> tuple[str, ...]:
    try:
        matches = FileSystems.match([pattern])[0].metadata_list
    except Exception as cause:  # each file system raises its own kind
        raise DataError(
            f"{table}: {pattern}: cannot be listed: {cause}. Check {table}.path in the feature "
            "spec, and that Beam's file system for it is installed (apache-beam[gcp] or [aws])."
        ) from cause
    files = tuple(sorted(match.path for match in matches))
    if not files:
        raise DataError(
            f"{table}: no file matches {pattern}. Check {table}.path in the feature spec and the "
            "data root (data_root in the run config, or $TWOTOWER_DATA)."
        )
    return files


def _check_file(source: Source, path: str) -> str:
    """Checks the columns of one file; returns whether it has records, a header or nothing."""
    try:
        if source.file_format in _TEXT:
            with table_files.open_table_file(path) as stream:
                problem = explain_encoding(stream)
            if problem:
                raise DataError(f"{source.table}: {path}: {problem}")
        names, has_records, complete = _read_columns(path, source.file_format)
    except (OSError, EOFError, ValueError, pa.ArrowException, table_files.UnreadableFile) as cause:
        raise DataError(
            f"{source.table}: {path}: cannot be read as {source.file_format}: {cause}. Check the "
            f"file, or set {source.table}.format in the feature spec."
        ) from cause
    if not names:
        return _EMPTY
    missing = [column for column in source.columns if column not in names]
    if missing:
        columns = ", ".join(f"'{column}'{did_you_mean(column, names)}" for column in missing)
        where = "" if complete else f" in its first {_CHECKED_RECORDS} records"
        advice = explain_header(source.table, names, source.file_format)
        shown = ", ".join(_printable(name) for name in sorted(names))
        raise DataError(
            f"{source.table}: {path}: missing column {columns}; found{where}: {shown}. "
            + (advice or "Correct the column in the feature spec, or add it to the file.")
        )
    return _RECORDS if has_records else _HEADER_ONLY


def _read_columns(path: str, file_format: TableFormat) -> tuple[list[str], bool, bool]:
    """The columns of a file, whether it has a record, and whether these are surely all columns."""
    with table_files.open_table_file(path) as stream:
        if file_format == "parquet":
            table = pq.ParquetFile(stream)
            return list(table.schema_arrow.names), table.metadata.num_rows > 0, True
        if file_format in ("csv", "tsv"):
            quoted = file_format == "csv"
            header = table_files.read_header(
                stream,
                "," if quoted else "\t",
                csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            )
            return header, bool(header) and _has_more_lines(path), True
        if file_format == "jsonl":
            return _read_json_columns(stream)
        names: dict[str, None] = {}
        has_records = False
        for payload in itertools.islice(sharded_output.read_frames(stream), _CHECKED_RECORDS):
            has_records = True
            names.update(dict.fromkeys(table_files.example_values(payload or b"")))
        return list(names), has_records, False


def _read_json_columns(stream: IO[bytes]) -> tuple[list[str], bool, bool]:
    names: dict[str, None] = {}
    has_records = False
    for line in itertools.islice(stream, _CHECKED_RECORDS):
        if not line.strip():
            continue
        has_records = True
        try:
            record = json.loads(line)
        except ValueError:
            continue  # quarantined when the table is read
        if isinstance(record, dict):
            names.update(dict.fromkeys(record))
    if has_records and not names:
        raise ValueError(f"no JSON object in its first {_CHECKED_RECORDS} lines")
    return list(names), has_records, False


def _has_more_lines(path: str) -> bool:
    with table_files.open_table_file(path) as stream:
        return sum(1 for line in itertools.islice(stream, 2) if line.strip()) == 2


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _shown(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more
