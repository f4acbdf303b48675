"""Finds the files of a table, how each is written, and checks their columns before a job starts."""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems

from pipelines.transforms import sharded_output, table_files
from tfrs_twotower.documents import user_path
from tfrs_twotower.errors import DataError, did_you_mean
from tfrs_twotower.specs.tables import EntityTable, InteractionTable, Table, TableFormat
from tfrs_twotower.tables import files, json_records, text_forms

_CHECKED_RECORDS = 100
_MOST_SAID = 3
_RECORDS, _HEADER_ONLY, _EMPTY = "records", "a header but no record", "an empty file"


@dataclass(frozen=True)
class Source:
    """The files of one table, sorted by name, and the columns that are read."""

    table: str
    """`interactions`, `candidates` or `queries`."""
    files: tuple[str, ...]
    file_format: TableFormat
    columns: tuple[str, ...]
    ids: tuple[str, ...] = ()
    """Columns of ids, which are read without blanks around them."""
    numbers: tuple[str, ...] = ()
    """Columns of numbers, which may have a decimal comma."""
    decimal: str | None = None
    """The decimal sign that the spec declares."""
    forms: tuple[table_files.FileForm, ...] = field(default=(), repr=False)
    """How each file is written."""

    def describe(self, position: int) -> str:
        """The file and place of a record, in words."""
        number = table_files.file_number_of(position)
        is_array = number < len(self.forms) and self.forms[number].is_array
        return table_files.describe_position(
            position, self.files, self.file_format, is_array=is_array
        )

    def said(self) -> list[str]:
        """Sentences on how files are written where it is not what their suffix promises."""
        found: dict[str, str] = {}
        for path, form in zip(self.files, self.forms, strict=False):
            options = {} if form.text is None else form.text.options
            if form.encoding not in ("utf-8", "utf-8-sig"):
                options = {"encoding": form.encoding}
            if options:
                shown = ", ".join(f"{key}: {json.dumps(v)}" for key, v in options.items())
                found.setdefault(shown, path)
        return [
            f"{self.table}: {path}: read with {shown}, which its first lines show; to say so, "
            f"write it under `{self.table}` in the feature spec"
            for shown, path in found.items()
        ]


def find_source(
    table: str,
    described: Table,
    columns: Sequence[str],
    data_root: Path,
    numbers: Iterable[str] = (),
) -> Source:
    """Finds the files of a table and checks that every file has the columns.

    Args:
        table: `interactions`, `candidates` or `queries`.
        described: the spec's description of the table.
        columns: columns that the spec reads; repetitions are dropped.
        data_root: directory where relative paths start.
        numbers: those of the columns that hold numbers.

    Raises:
        DataError: no file matches, all are empty, one cannot be read, or a column is missing.
    """
    file_format, names = described.file_format, tuple(dict.fromkeys(columns))
    paths = find_files(table, described.path, data_root)
    checked = [_check_file(table, path, described, names) for path in paths]
    contents = [content for content, _ in checked]
    if _RECORDS not in contents:
        holds = _HEADER_ONLY if _HEADER_ONLY in contents else _EMPTY
        raise DataError(
            f"{table}: {_shown(paths)}: found {holds}; expected a record for each of the {table}. "
            f"Check how the file was written, or {table}.path in the feature spec."
        )
    return Source(
        table,
        paths,
        file_format,
        names,
        _ids_of(described),
        tuple(dict.fromkeys(numbers)),
        described.decimal,
        tuple(form for _, form in checked),
    )


def _ids_of(described: Table) -> tuple[str, ...]:
    if isinstance(described, InteractionTable):
        session = () if described.session is None else (described.session,)
        return described.query_id, described.candidate_id, *session
    return (described.id,) if isinstance(described, EntityTable) else ()


def find_files(table: str, pattern: str, data_root: Path) -> tuple[str, ...]:
    """The data files of a path, sorted by name.

    Raises:
        DataError: there are none, or the place cannot be listed.
    """
    if "://" not in pattern:
        paths = files.find_local_files(data_root, pattern)
    else:
        paths = _find_remote(table, pattern)
    if not paths:
        shown = pattern if "://" in pattern else user_path(pattern, data_root)
        raise DataError(
            f"{table}: no file matches {shown}. Check {table}.path in the feature spec and the "
            "data root (data_root in the run config, or $TWOTOWER_DATA)."
        )
    return paths


def _find_remote(table: str, pattern: str) -> tuple[str, ...]:
    below = f"{pattern.rstrip('/')}/**"
    try:
        named, inside = (result.metadata_list for result in FileSystems.match([pattern, below]))
    except Exception as cause:  # each file system raises its own kind
        raise DataError(
            f"{table}: {pattern}: cannot be listed: {cause}. Check {table}.path in the feature "
            "spec, and that Beam's file system for it is installed (apache-beam[gcp] or [aws])."
        ) from cause
    names = [match.path for match in named or inside if not match.path.endswith("/")]
    return tuple(sorted(files.without_hidden(names, pattern)))


def _check_file(
    table: str, path: str, described: Table, columns: Sequence[str]
) -> tuple[str, table_files.FileForm]:
    """Checks one file's columns; returns whether it has records, a header or nothing, its form."""
    file_format = described.file_format
    try:
        form = table_files.find_file_form(path, file_format, described.declared)
        names, has_records, complete = _read_columns(path, file_format, form)
    except files.UnreadableFile as cause:
        raise DataError(f"{table}: {cause}. {cause.remedy}".removesuffix(". ")) from cause
    except (*files.DAMAGE, pa.ArrowException) as cause:
        raise DataError(
            f"{table}: {path}: cannot be read as {file_format}: {cause}. Check the file, or set "
            f"{table}.format in the feature spec."
        ) from cause
    if not names:
        return _EMPTY, form
    in_path = files.partition_values(path)
    missing = [column for column in columns if column not in names and column not in in_path]
    if missing:
        shown = ", ".join(f"'{column}'{did_you_mean(column, names)}" for column in missing)
        where = "" if complete else f" in its first {_CHECKED_RECORDS} records"
        raise DataError(
            f"{table}: {path}: missing column {shown}; found{where}: {', '.join(sorted(names))}. "
            + _advice(form, names)
        )
    return _RECORDS if has_records else _HEADER_ONLY, form


def _advice(form: table_files.FileForm, names: Sequence[str]) -> str:
    if form.text is not None and form.text.invented:
        return (
            "The first line looks like a record: if the file has no header, name its columns with "
            "`columns: [...]` in the feature spec, in their order."
        )
    if form.text is not None and len(names) == 1:
        return (
            f"The whole first line is one column where '{form.text.delimiter}' separates them: "
            "set `delimiter` in the feature spec, or correct the file."
        )
    return "Correct the column in the feature spec, or add it to the file."


def _read_columns(
    path: str, file_format: TableFormat, form: table_files.FileForm
) -> tuple[list[str], bool, bool]:
    """The columns of a file, whether it has a record, and whether these are surely all columns."""
    open_file = table_files.opener_of(path)
    if form.text is not None:
        rows = table_files.read_table_file(path, file_format, (), form)
        return list(form.text.columns), next(rows, None) is not None, True
    names: dict[str, None] = {}
    has_records = False
    if file_format == "jsonl":
        objects = json_records.read_json_objects(
            path, open_file, form.encoding, array=form.is_array
        )
        for _, record, _ in itertools.islice(objects, _CHECKED_RECORDS):
            has_records = True
            names.update(dict.fromkeys(record or ()))
        if has_records and not names:
            raise ValueError(f"no JSON object in its first {_CHECKED_RECORDS} records")
        return list(names), has_records, False
    with open_file() as stream:
        if file_format == "parquet":
            table = pq.ParquetFile(stream)
            columns = list(table.schema_arrow.names)
            with files.malformed_in(path):
                text_forms.check_names(columns)
            return columns, table.metadata.num_rows > 0, True
        for payload in itertools.islice(sharded_output.read_frames(stream), _CHECKED_RECORDS):
            has_records = True
            names.update(dict.fromkeys(table_files.example_values(payload or b"")))
        return list(names), has_records, False


def _shown(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more
