"""Reads the first records of a table in any format; memory does not grow with the table."""

import csv
import gzip
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tfrs_twotower.errors import DataError

MAX_RECORDS = 100_000
_FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
_LONGEST_FIELD = 1 << 24
_BATCH = 8192


@dataclass(frozen=True)
class Sample:
    """The first records of one table, by column."""

    path: Path
    columns: dict[str, list[Any]]
    """Cells of each column; None where a cell is empty or absent."""
    num_records: int
    complete: bool
    """Whether the sample has all records of the table."""


def read_sample(path: Path, max_records: int = MAX_RECORDS) -> Sample:
    """Reads the first records of a CSV, TSV, JSONL or Parquet file (text also as `.gz`).

    Lines that do not fit the header, or are not JSON objects, are left out: preprocessing
    quarantines them.

    Raises:
        DataError: the file is missing, of no known format, damaged, or has no records.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. Name one file of the table.")
    if suffix not in _FORMATS:
        raise DataError(
            f"{path}: found suffix '{suffix}', allowed: {', '.join(_FORMATS)} (text also .gz). "
            "Rename or convert the file."
        )
    try:
        if suffix == ".parquet":
            names, rows = _parquet_rows(path, max_records + 1)
        else:
            with _open_text(path) as stream:
                names, rows = _text_rows(stream, suffix, max_records + 1)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, pa.ArrowException) as cause:
        raise DataError(f"{path}: cannot be read as {suffix}: {cause}. Repair the file.") from cause
    if not rows:
        raise DataError(f"{path}: found no records, expected a header and at least one record.")
    if len(names) == 1 and ";" in names[0]:
        raise DataError(
            f"{path}: found one column, '{names[0]}'. Fields must be separated by commas (.csv) or "
            "tabs (.tsv): convert the file."
        )
    complete = len(rows) <= max_records
    rows = rows[:max_records]
    cells = {name: [_clean(row[at]) for row in rows] for at, name in enumerate(names)}
    return Sample(path, cells, len(rows), complete)


def _clean(cell: Any) -> Any:
    return None if cell == "" or (isinstance(cell, float) and cell != cell) else cell


Rows = tuple[list[str], list[list[Any]]]


def _open_text(path: Path) -> IO[str]:
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _text_rows(text: IO[str], suffix: str, limit: int) -> Rows:
    if suffix == ".jsonl":
        return _by_name(_json_objects(itertools.islice(text, limit)))
    csv.field_size_limit(_LONGEST_FIELD)
    if suffix == ".tsv":
        reader = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(text)
    header = next(reader, [])
    rows = [row for row in itertools.islice(reader, limit) if len(row) == len(header)]
    return header, rows


def _json_objects(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def _parquet_rows(path: Path, limit: int) -> Rows:
    records: list[dict[str, Any]] = []
    with pq.ParquetFile(path) as table:
        names = list(table.schema_arrow.names)
        for batch in table.iter_batches(min(_BATCH, limit)):
            records += _microseconds(batch).slice(0, limit - len(records)).to_pylist()
            if len(records) >= limit:
                break
    return names, [[record[name] for name in names] for record in records]


def _microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Casts times to microseconds, because Python's datetime has no nanoseconds."""
    columns = [
        column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
        if pa.types.is_timestamp(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _by_name(records: Iterable[dict[str, Any]]) -> Rows:
    kept = list(records)
    names = list(dict.fromkeys(name for record in kept for name in record))
    return names, [[record.get(name) for name in names] for record in kept]
