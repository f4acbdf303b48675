"""Reads the first records of a table in any format; memory does not grow with the table."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.transforms import table_files
from tfrs_twotower.errors import DataError
from tfrs_twotower.specs.tables import TableFormat, format_of_name
from tfrs_twotower.tables import delimited, files, json_records, text_forms
from tfrs_twotower.tables.decimals import from_decimal_comma

MAX_RECORDS = 100_000
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
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the spec that say how the files are written, where that is not the default."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why an option was chosen, by option."""


def read_sample(path: Path, max_records: int = MAX_RECORDS) -> Sample:
    """Reads the first records of a table: a file, a directory as Spark writes them, or a glob.

    Records that do not fit the header, or are not JSON objects, are left out: preprocessing
    quarantines them.

    Raises:
        DataError: the table is missing, of no known format, damaged, or has no records.
    """
    with _read(path) as (form, records):
        kept = list(itertools.islice(records, max_records + 1))
    options = form.options
    if not kept:
        raise DataError(f"{path}: found no records, expected a header and at least one record.")
    complete = len(kept) <= max_records
    kept = kept[:max_records]
    names = dict.fromkeys(name for record in kept for name in record)
    cells = {name: [_clean(record.get(name)) for record in kept] for name in names}
    if options.get("decimal") == ",":
        cells = {name: _with_points(column) for name, column in cells.items()}
    return Sample(path, cells, len(kept), complete, options, form.reasons)


def cells_of(sample: Sample, names: Sequence[str], most: int) -> Iterator[tuple[Any, ...]]:
    """The cells of some columns in the first `most` records of the table, beyond the sample.

    Raises:
        DataError: a file behind the sample is damaged.
    """
    if sample.complete or most <= sample.num_records:
        columns = [sample.columns[name] for name in names]
        yield from itertools.islice(zip(*columns, strict=True), most)
        return
    with _read(sample.path) as (_, records):
        for record in itertools.islice(records, most):
            yield tuple(_clean(record.get(name)) for name in names)


@contextmanager
def _read(path: Path) -> Iterator[tuple["_TableForm", Iterator[dict[str, Any]]]]:
    """How a table is written, and its records; both before the files are closed."""
    paths = files.find_local_files(Path(), str(path))
    if not paths:
        raise DataError(f"{path}: there is no such file. Name a file, directory or glob.")
    try:
        with files.unreadable_as_such(str(path), pa.ArrowException):
            told = next((one for one in paths if os.path.getsize(one)), paths[0])
            form = _find_form(told, format_of_name(str(path)), format_of_name(told))
            yield form, itertools.chain.from_iterable(_records(each, form) for each in paths)
    except files.UnreadableFile as cause:
        raise DataError(f"{cause}{' Repair the file.' if cause.remedy else ''}") from cause


def _clean(cell: Any) -> Any:
    return None if cell == "" or (isinstance(cell, float) and cell != cell) else cell


def _with_points(cells: list[Any]) -> list[Any]:
    """Numbers with a decimal comma as preprocessing reads them, in a column that has only such."""
    try:
        return [from_decimal_comma(cell) if isinstance(cell, str) else cell for cell in cells]
    except ValueError:
        return cells


class _TableForm(NamedTuple):
    file_format: TableFormat
    declared: text_forms.Declared
    """What the spec will say about the form."""
    options: dict[str, Any]
    reasons: dict[str, str]


def _find_form(path: str, named: TableFormat | None, own: TableFormat | None) -> _TableForm:
    """How a file is written, and the options and reasons that say so.

    `named` is the format that the table's path names, `own` the file's.
    """
    with table_files.opener_of(path)() as stream:
        head = stream.read(4)
    options: dict[str, Any] = {}
    if named is None:
        begins = head.lstrip()[:1]
        named = own or (
            "parquet" if head == b"PAR1" else "jsonl" if begins in (b"{", b"[") else "csv"
        )
        options["format"] = named
    declared = text_forms.Declared()
    form = table_files.find_file_form(path, named, declared, may_guess=True)
    reasons: dict[str, str] = {}
    if form.text is not None and form.text.invented:
        declared = declared._replace(columns=form.text.invented)
        form = table_files.find_file_form(path, named, declared, may_guess=True)
        options["columns"] = list(form.text.columns) if form.text else []
        reasons["columns"] = "the first line is a record; give the columns better names"
    if form.text is not None:
        if options.get("format") and len(form.text.columns) == 1:
            raise DataError(
                f"{path}: found a suffix that names no format, and text with one column; allowed "
                "are .csv, .tsv, .jsonl, .json, .parquet, .tfrecord (each also compressed), and "
                "text with several columns. Rename or convert the file."
            )
        options.update(form.text.options)
        if not form.text.encoding.certain:
            reasons["encoding"] = "a guess: look at words with accents"
    elif form.encoding not in ("utf-8", "utf-8-sig"):
        options["encoding"] = form.encoding
    told = {key: value for key, value in options.items() if key not in ("format", "columns")}
    return _TableForm(named, declared._replace(**told), options, reasons)


def _records(path: str, form: _TableForm) -> Iterator[dict[str, Any]]:
    """The good records of one file, with the columns that its path names."""
    in_path = files.partition_values(path)
    for record in _own_records(path, form):
        yield {**in_path, **record}


def _own_records(path: str, table: _TableForm) -> Iterable[dict[str, Any]]:
    open_file = table_files.opener_of(path)
    if table.file_format == "parquet":
        return _parquet_records(path)
    if table.file_format == "tfrecord":
        return _example_records(path)
    form = table_files.find_file_form(path, table.file_format, table.declared)
    if form.text is not None:
        names = [name for name in form.text.columns if name]
        rows = delimited.read_delimited(path, open_file, form.text, names, delimited.FileNotes())
        return (dict(zip(names, row, strict=True)) for _, row, _ in rows if row is not None)
    objects = json_records.read_json_objects(path, open_file, form.encoding, array=form.is_array)
    return (json_records.repaired(record) for _, record, _ in objects if record is not None)


def _example_records(path: str) -> Iterator[dict[str, Any]]:
    with table_files.opener_of(path)() as stream:
        for _, record, _ in table_files.read_examples(stream):
            if record is not None:
                yield record


def _parquet_records(path: str) -> Iterator[dict[str, Any]]:
    with table_files.opener_of(path)() as stream, pq.ParquetFile(stream) as table:
        for batch in table.iter_batches(_BATCH):
            yield from _microseconds(batch).to_pylist()


def _microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Casts times to microseconds, because Python's datetime has no nanoseconds."""
    columns = [
        column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
        if pa.types.is_timestamp(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
