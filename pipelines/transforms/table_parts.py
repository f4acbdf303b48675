"""Reads a part of a table's files, by columns where the format has them, otherwise by records."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from apache_beam.io.filesystems import FileSystems
from numpy.typing import NDArray

from pipelines.transforms import column_cells, table_files
from pipelines.transforms.table_sources import Source
from tfrs_twotower.errors import DataError
from tfrs_twotower.tables import delimited, files
from tfrs_twotower.tables.decimals import from_decimal_comma

_LEAST_BYTES = 24
"""Bytes of a short record of text, so that rather more records are expected than fewer."""


class Part(NamedTuple):
    """What one worker reads of a table at once."""

    file_number: int
    group: int | None
    """A row group of a Parquet file; None is a whole file."""
    opens_file: bool
    """Whether it is the first part of its file."""


class Columns(NamedTuple):
    """Some records of a part by columns."""

    positions: NDArray[np.int64]
    cells: list[column_cells.CellColumn]


def parts_of(source: Source) -> list[Part]:
    """The parts of a table: row groups of Parquet, otherwise files.

    Raises:
        DataError: a Parquet file has no readable end.
    """
    parts = []
    for number in range(len(source.files)):
        groups: list[int | None] = [None]
        if source.file_format == "parquet":
            groups = list(range(len(_row_groups(source, number)))) or [None]
        parts += [Part(number, group, at == 0) for at, group in enumerate(groups)]
    return parts


def most_records(source: Source) -> int:
    """About as many records as a table has, rather more than fewer.

    Raises:
        DataError: a Parquet file has no readable end.
    """
    if source.file_format == "parquet":
        return sum(sum(_row_groups(source, number)) for number in range(len(source.files)))
    found = FileSystems.match(list(source.files))
    size = sum(match.size_in_bytes for result in found for match in result.metadata_list)
    return size // _LEAST_BYTES


def records_of_the_largest(sources: Mapping[str, Source]) -> int:
    """About as many records as the table with most of them has."""
    return max((most_records(source) for source in sources.values()), default=0)


def _row_groups(source: Source, file_number: int) -> list[int]:
    try:
        return table_files.row_groups(source.files[file_number])
    except files.UnreadableFile as cause:
        raise _unreadable(source, cause, 0) from cause


def _unreadable(source: Source, cause: files.UnreadableFile, num_read: int) -> DataError:
    after = f", after {num_read} records. {cause.remedy}" if cause.remedy else ""
    return DataError(f"{source.table}: {cause}{after}")


class PartReader:
    """Reads one part of a table.

    Args:
        source: the table.
        part: what is read of it.
        missing: texts that mean no value.
        notes: receives what is worth saying about the file.
    """

    def __init__(
        self, source: Source, part: Part, missing: frozenset[str], notes: delimited.FileNotes
    ) -> None:
        self._source, self._part, self._missing, self._notes = source, part, missing, notes
        path = source.files[part.file_number]
        form = source.forms[part.file_number] if source.forms else None
        self._path, self._form = path, form
        places = {column: at for at, column in enumerate(source.columns)}
        in_path = files.partition_values(path)
        found = form.text.decimal if form is not None and form.text is not None else None
        commas = (source.decimal or found) == ","
        self._ids = [places[column] for column in source.ids if column in places]
        self._given = {at: in_path[name] for name, at in places.items() if in_path.get(name)}
        self._numbers = {places[name]: name for name in source.numbers if commas and name in places}

    def columns(self) -> Iterator[Columns] | None:
        """The records by columns; None where they are read by `records`.

        Raises:
            DataError: the rest of the file cannot be read.
        """
        return None if self._part.group is None else self._row_group(self._part.group)

    def _row_group(self, group: int) -> Iterator[Columns]:
        num_read = 0
        try:
            for first, arrays in table_files.read_row_group(
                self._path, group, self._source.columns
            ):
                start = table_files.position_of(self._part.file_number, first)
                number = len(arrays[0])
                yield Columns(
                    np.arange(start, start + number),
                    [self._cells(at, array) for at, array in enumerate(arrays)],
                )
                num_read += number
        except files.UnreadableFile as cause:
            raise _unreadable(self._source, cause, num_read) from cause

    def _cells(self, at: int, array: pa.Array) -> column_cells.CellColumn:
        is_text = not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type))
        is_repaired = (
            bool(self._missing and is_text)
            or (at in self._given and array.null_count > 0)
            or (at in self._numbers and is_text)
        )
        return column_cells.CellColumn(array, partial(self._repair, at), is_repaired=is_repaired)

    def _repair(self, at: int, cell: Any) -> Any:
        """The cell as `records` gives it.

        Raises:
            ValueError: `records` says what is to be said about it.
        """
        if cell is None:
            cell = self._given.get(at)
        if not isinstance(cell, str):
            return cell
        if at in self._ids and cell != cell.strip():
            raise ValueError("blanks around an id")
        if at in self._numbers:
            cell = from_decimal_comma(cell)
        return None if cell in self._missing else cell

    def records(self) -> Iterator[delimited.Record]:
        """All records; the number of one is its position.

        Raises:
            DataError: the rest of the file cannot be read.
        """
        num_read = 0
        raw = table_files.read_table_file(
            self._path,
            self._source.file_format,
            self._source.columns,
            self._form,
            self._notes,
            self._source.ids,
        )
        try:
            for number, values, reason in raw:
                num_read += 1
                position = table_files.position_of(self._part.file_number, number)
                yield (
                    self.finished(position, values)
                    if values is not None
                    else (position, None, reason)
                )
        except files.UnreadableFile as cause:
            raise _unreadable(self._source, cause, num_read) from cause

    def chosen(self, columns: Columns, rows: NDArray[np.int64]) -> Iterator[delimited.Record]:
        """Some records of a part that is read by columns, one by one."""
        take = pa.array(rows)
        lists = [table_files.python_values(column.cells.take(take)) for column in columns.cells]
        positions = columns.positions[rows].tolist()
        for position, *values in zip(positions, *lists, strict=True):
            yield self.finished(position, tuple(values))

    def finished(self, position: int, values: Sequence[Any]) -> delimited.Record:
        """A record with the values of its path, ids without blanks, and plain decimals."""
        changed = list(values)
        for at in self._ids:
            cell = changed[at]
            if isinstance(cell, str) and cell != (bare := cell.strip()):
                changed[at] = bare
                self._notes.note_padded(position, self._source.describe(position))
        for at, value in self._given.items():
            changed[at] = value if changed[at] is None else changed[at]
        for at, column in self._numbers.items():
            if isinstance(changed[at], str):
                try:
                    changed[at] = from_decimal_comma(changed[at])
                except ValueError as cause:
                    return position, None, f"column '{column}': {cause}"
        if self._missing:
            changed = [
                None if isinstance(cell, str) and cell in self._missing else cell
                for cell in changed
            ]
        return position, tuple(changed), ""
