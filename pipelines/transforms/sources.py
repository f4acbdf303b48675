"""The files of a table: finding them, and checking their columns before any job starts."""

import csv
import difflib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems

from pipelines.transforms.table_files import (
    UnreadableFile,
    describe_position,
    example_values,
    open_table_file,
    read_header,
)
from pipelines.transforms.tfrecords import read_frames
from tfrs_twotower.artifacts import sha256_file
from tfrs_twotower.errors import DataError
from tfrs_twotower.specs.tables import Table, TableFormat

_LONGEST_HEAD = 1 << 16
_MARKS = ((b"\xff\xfe", "FF FE"), (b"\xfe\xff", "FE FF"))
_CONVERT = "Save it as UTF-8, for example with `iconv -f {encoding} -t UTF-8`."
_SEPARATORS = {"csv": (";", "\t", "|"), "tsv": (",", ";", "|")}
_IN_WORDS = {"\t": "tabs", ",": "commas"}
_PEEKED_RECORDS = 100
_TEXT = ("csv", "tsv", "jsonl")
_RECORDS, _HEADER_ONLY, _EMPTY = "records", "a header but no record", "an empty file"


def explain_encoding(stream: IO[bytes]) -> str:
    """Why a text file that begins so is not UTF-8, and what to do; "" where nothing is wrong.

    UTF-16 is told by its byte order mark, or by NUL bytes in the first line.
    """
    head = stream.readline(_LONGEST_HEAD)
    for mark, name in _MARKS:
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
    """Why the columns of a file may not be found, and what to do; "" if that cannot be told."""
    if any("\udc80" <= character <= "\udcff" for name in header for character in name):
        return "The header is not UTF-8. " + _CONVERT.format(encoding="WINDOWS-1252")
    if len(header) != 1:
        return ""
    for separator in _SEPARATORS.get(file_format, ()):
        if separator in header[0]:
            found = _IN_WORDS.get(separator, f"`{separator}`")
            expected = "commas" if file_format == "csv" else "tabs"
            return (
                f"The columns seem to be separated by {found}, not by {expected}: "
                + _what_to_do(table, separator)
            )
    return ""


def _what_to_do(table: str, separator: str) -> str:
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
    """One table's files in the order of their names, and the columns that are read."""

    table: str
    """`interactions`, `candidates` or `queries`."""
    files: tuple[str, ...]
    file_format: TableFormat
    columns: tuple[str, ...]

    def describe(self, position: int) -> str:
        """The position of a record in words."""
        return describe_position(position, self.files, self.file_format)


def find_source(table: str, described: Table, columns: Sequence[str], data_root: Path) -> Source:
    """Finds a table's files and checks that every one has the columns.

    Args:
        table: `interactions`, `candidates` or `queries`.
        described: the spec's description of the table.
        columns: columns that the spec reads; repetitions are dropped.
        data_root: where relative paths start.

    Raises:
        DataError: no file matches, all are empty, one cannot be read, or a column is missing.
    """
    pattern = described.path
    if "://" not in pattern:
        pattern = str(data_root / pattern)
    files = _match(table, pattern)
    source = Source(table, files, described.file_format, tuple(dict.fromkeys(columns)))
    contents = [_check_file(source, path) for path in files]
    if _RECORDS not in contents:
        found = _HEADER_ONLY if _HEADER_ONLY in contents else _EMPTY
        raise DataError(
            f"{table}: {_shown(files)}: found {found}; expected a record for each of the {table}. "
            f"Check how the file was written, or {table}.path in the feature spec."
        )
    return source


def content_identity(path: str) -> str:
    """What changes when a file changes: its SHA-256, or size and time of a remote file."""
    if "://" not in path:
        return sha256_file(Path(path))
    found = FileSystems.match([path])[0].metadata_list[0]
    return f"{path} {found.size_in_bytes} {found.last_updated_in_seconds}"


def _match(table: str, pattern: str) -> tuple[str, ...]:
    try:
        matched = FileSystems.match([pattern])[0].metadata_list
    except Exception as cause:  # each file system raises its own kind
        raise DataError(
            f"{table}: {pattern}: cannot be listed: {cause}. Check {table}.path in the feature "
            "spec, and that Beam's file system for it is installed (apache-beam[gcp] or [aws])."
        ) from cause
    files = tuple(sorted(found.path for found in matched))
    if not files:
        raise DataError(
            f"{table}: no file matches {pattern}. Check {table}.path in the feature spec and the "
            "data root (data_root in the run config, or $TWOTOWER_DATA)."
        )
    return files


def _check_file(source: Source, path: str) -> str:
    """Checks the columns of one file; returns what the file holds."""
    try:
        if source.file_format in _TEXT:
            with open_table_file(path) as stream:
                problem = explain_encoding(stream)
            if problem:
                raise DataError(f"{source.table}: {path}: {problem}")
        found, has_records, complete = _peek(path, source.file_format)
    except (OSError, EOFError, ValueError, pa.ArrowException, UnreadableFile) as cause:
        raise DataError(
            f"{source.table}: {path}: cannot be read as {source.file_format}: {cause}. Check the "
            f"file, or set {source.table}.format in the feature spec."
        ) from cause
    if not found:
        return _EMPTY
    missing = [column for column in source.columns if column not in found]
    if missing:
        hints = [_did_you_mean(column, found) for column in missing]
        columns = ", ".join(
            f"'{column}'{hint}" for column, hint in zip(missing, hints, strict=True)
        )
        where = "" if complete else f" in its first {_PEEKED_RECORDS} records"
        advice = explain_header(source.table, found, source.file_format)
        shown = ", ".join(_printable(name) for name in sorted(found))
        raise DataError(
            f"{source.table}: {path}: missing column {columns}; found{where}: {shown}. "
            + (advice or "Correct the column in the feature spec, or add it to the file.")
        )
    return _RECORDS if has_records else _HEADER_ONLY


def _peek(path: str, file_format: TableFormat) -> tuple[list[str], bool, bool]:
    """Columns of a file, whether it has a record, and whether these are surely all columns."""
    with open_table_file(path) as stream:
        if file_format == "parquet":
            table = pq.ParquetFile(stream)
            return list(table.schema_arrow.names), table.metadata.num_rows > 0, True
        if file_format in ("csv", "tsv"):
            quoted = file_format == "csv"
            header = read_header(
                stream,
                "," if quoted else "\t",
                csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            )
            return header, bool(header) and _has_more_lines(path), True
        if file_format == "jsonl":
            return _peek_json_lines(path)
        found: dict[str, None] = {}
        some = False
        for payload in itertools.islice(read_frames(stream), _PEEKED_RECORDS):
            some = True
            found.update(dict.fromkeys(example_values(payload or b"")))
        return list(found), some, False


def _peek_json_lines(path: str) -> tuple[list[str], bool, bool]:
    import json

    found: dict[str, None] = {}
    some = False
    with open_table_file(path) as stream:
        for line in itertools.islice(stream, _PEEKED_RECORDS):
            if not line.strip():
                continue
            some = True
            try:
                record = json.loads(line)
            except ValueError:
                continue  # quarantined when the table is read
            if isinstance(record, dict):
                found.update(dict.fromkeys(record))
    if some and not found:
        raise ValueError(f"no JSON object in its first {_PEEKED_RECORDS} lines")
    return list(found), some, False


def _has_more_lines(path: str) -> bool:
    with open_table_file(path) as stream:
        return sum(1 for line in itertools.islice(stream, 2) if line.strip()) == 2


def _did_you_mean(column: str, found: Sequence[str]) -> str:
    close = difflib.get_close_matches(column, found, n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _shown(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more
