"""Reads a table: good records as batches, bad records into quarantine, reasons summed up."""

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam import pvalue

from pipelines.transforms import batches, beam_job, column_cells, table_parts, table_sources
from pipelines.transforms.cells import BadCell, bare_text
from pipelines.transforms.watched_cells import CellWatch, Watched
from tfrs_twotower.artifacts import shard_of
from tfrs_twotower.data.lines import json_line
from tfrs_twotower.tables.delimited import FileNotes, Record

STAGE = "preprocess"
_NUM_EXAMPLES = 3
_LONGEST_VALUE = 200
_LONGEST_KEY = 60
BadRecord = tuple[str, int, str, str, str, str]
"""Table, position, key, reason, the value that was refused, and the column of a cell that counts as
missing; "" where the record is left out."""
ReasonSummary = tuple[int, list[tuple[int, str, str]]]
"""The number of records, and the positions, keys and values of the first of them."""
PADDED = "padded:"
"""Beginning of the form that counts the ids of a file, by its number, with blanks around them."""
RECORDS, BAD, COUNTS, FORMS = "records", "bad", "counts", "forms"
"""Tags of outputs: good records, bad records and cells, `(name, number)` pairs that are added up,
and `((table, column, form), summary)` of the cells' forms."""


class Parser(Protocol):
    """Turns the cells of a record into a named tuple."""

    missing: frozenset[str]
    """Texts that mean no value."""
    watched: list[Watched]
    """Columns whose forms are counted."""
    leave_out: list[tuple[int, frozenset[str]]]
    """Places of cells, and the texts there with which a record is not read."""
    schema: pa.Schema
    """Columns of the table that good records make."""
    rules: list[column_cells.Rule]
    """How each of them, but `position`, comes from cells that are good."""

    def __call__(self, position: int, values: Any, bad_cells: list[BadCell], /) -> tuple[Any, ...]:
        """Returns the record, and adds the cells that count as missing; raises `BadCell`."""

    def row_of(self, record: Any) -> Sequence[Any]:
        """The record's values in the order of the schema."""


def said_of(table: str) -> str:
    """What the names of those counts begin with that are sentences about a table's files."""
    return f"said_{table}: "


class ReadTable(beam.PTransform):
    """Reads all files of a table; a worker reads a row group of Parquet, or another file.

    Outputs `records` (packed tables of what the parser makes), `bad`, `forms`, and `counts`: the
    numbers of records that were read, `read_<table>`, of those that the spec leaves out,
    `left_out_<table>`, and of files, `files_<table>`.
    """

    def __init__(self, source: table_sources.Source, parse: Parser) -> None:
        super().__init__()
        self._source = source
        self._parse = parse

    def expand(self, root: beam.Pipeline) -> Any:
        """Distributes the parts over the workers."""
        return (
            root
            | beam.Create(
                [tuple(part) for part in table_parts.parts_of(self._source)], reshuffle=True
            )
            | beam.ParDo(_ReadPart(self._source, self._parse)).with_outputs(
                BAD, COUNTS, FORMS, main=RECORDS
            )
        )


class _ReadPart(beam.DoFn):
    def __init__(self, source: table_sources.Source, parse: Parser) -> None:
        self._source = source
        self._parse = parse

    def process(self, part: tuple[int, int | None, bool]) -> Iterable[Any]:
        table, reading = self._source.table, Reading(self._source, self._parse)
        reported = 0
        for records, bad in reading.tables(table_parts.Part(*part)):
            beam_job.count_records(reading.number_read - reported)
            reported = reading.number_read
            for one in bad:
                yield pvalue.TaggedOutput(BAD, one)
            if records.num_rows:
                yield batches.packed(records)
        yield pvalue.TaggedOutput(COUNTS, (f"read_{table}", reading.number_read))
        yield pvalue.TaggedOutput(COUNTS, (f"files_{table}", int(part[2])))
        yield pvalue.TaggedOutput(COUNTS, (f"left_out_{table}", reading.left_out))
        notes = reading.notes
        if notes.padded_ids:  # a file may have several parts, and one sentence
            seen = (notes.padded_ids, [(notes.first_padded[0], "", "")])
            yield pvalue.TaggedOutput(FORMS, ((table, "", f"{PADDED}{part[0]}"), seen))
            notes.padded_ids = 0
        for sentence in notes.said():
            yield pvalue.TaggedOutput(COUNTS, (f"{said_of(table)}{sentence}", 1))
        for (column, form), seen in reading.watch.seen():
            yield pvalue.TaggedOutput(FORMS, ((table, column, form), seen))


class Reading:
    """Reads parts of a table, and counts what is in them."""

    def __init__(self, source: table_sources.Source, parse: Parser) -> None:
        self._source = source
        self._parse = parse
        self.watch = CellWatch(parse.watched, source.columns)
        self.notes = FileNotes()
        self.number_read = 0
        self.left_out = 0

    def tables(self, part: table_parts.Part) -> Iterator[tuple[pa.Table, list[BadRecord]]]:
        """The good records of a part as tables, and what is bad about the others.

        Raises:
            DataError: the rest of the file cannot be read.
        """
        reader = table_parts.PartReader(self._source, part, self._parse.missing, self.notes)
        by_columns = reader.columns()
        if by_columns is None:
            records = reader.records()
            while some := list(itertools.islice(records, batches.ROWS)):
                yield self._judged(some)
            return
        for columns in by_columns:
            yield self._of_columns(reader, columns)

    def _of_columns(
        self, reader: table_parts.PartReader, columns: table_parts.Columns
    ) -> tuple[pa.Table, list[BadRecord]]:
        parse = self._parse
        table, good = column_cells.read_table(columns.cells, parse.rules, columns.positions)
        out = np.zeros(len(good), bool)
        for place, texts in parse.leave_out:
            out |= good & columns.cells[place].matches(texts)
        plain = good & ~out
        self.watch.look_at(columns.cells, plain, columns.positions)
        self.left_out += int(out.sum())
        self.number_read += int(good.sum())
        table = table.select(parse.schema.names)
        if plain.all():
            return table, []
        others, bad = self._judged(reader.chosen(columns, np.flatnonzero(~good)))
        return pa.concat_tables([table.filter(pa.array(plain)), others]), bad

    def _judged(self, records: Iterable[Record]) -> tuple[pa.Table, list[BadRecord]]:
        """Reads records one by one."""
        rows, bad_records = [], []
        for position, cells, reason in records:
            self.number_read += 1
            record, bad = self._judge(position, cells, reason)
            bad_records += bad
            if record is not None:
                rows.append(self._parse.row_of(record))
            elif not bad:
                self.left_out += 1
        return column_cells.rows_as_table(rows, self._parse.schema), bad_records

    def _judge(
        self, position: int, cells: Sequence[Any] | None, reason: str
    ) -> tuple[tuple[Any, ...] | None, list[BadRecord]]:
        """A record, and what is bad about it; None and nothing if the spec leaves it out."""
        table = self._source.table
        if cells is None:
            return None, [bad_record(table, position, "", reason)]
        if any(bare_text(cells[place]) in texts for place, texts in self._parse.leave_out):
            return None, []
        self.watch.look(position, cells)
        bad_cells: list[BadCell] = []
        key = bare_text(cells[0])[:_LONGEST_VALUE]
        try:
            record = self._parse(position, cells, bad_cells)
        except BadCell as bad:
            return None, [bad_record(table, position, key, bad.reason, bad.value)]
        return record, [
            bad_record(table, position, key, bad.reason, bad.value, bad.column) for bad in bad_cells
        ]


def bad_record(
    table: str, position: int, key: str, reason: str, value: Any = "", column: str = ""
) -> BadRecord:
    """Describes a bad record, or a bad cell of a column; long values are cut."""
    found = "" if value is None or (isinstance(value, str) and not value) else repr(value)
    return (table, position, key, reason, found[:_LONGEST_VALUE], column)


class ReportQuarantine(beam.PTransform):
    """Turns bad records into output lines, `((name, shard), (position, json line))`."""

    def __init__(self, sources: Mapping[str, table_sources.Source], num_shards: int) -> None:
        super().__init__()
        self._sources = dict(sources)
        self._num_shards = num_shards

    def expand(self, bad: beam.PCollection) -> beam.PCollection:
        """Makes one JSON line of each record, with its position in words."""
        return bad | beam.Map(_as_line, self._sources, self._num_shards)


def _as_line(
    record: BadRecord, sources: Mapping[str, table_sources.Source], num_shards: int
) -> tuple[tuple[str, int], tuple[int, str]]:
    table, position, key, reason, value, column = record
    line = {
        "stage": STAGE,
        "table": table,
        "key": key,
        "reason": f"{reason} (found {value})" if value else reason,
        "source": sources[table].describe(position),
    }
    if column:
        line["column"] = column  # only this cell is left out, as a missing value
    shard = shard_of(f"{table}:{position}", num_shards)
    return (f"quarantine/{table}", shard), (position, json_line(dict(sorted(line.items()))))


class SummariseReasons(beam.PTransform):
    """Turns bad records and cells into `((table, column, reason), summary)`."""

    def expand(self, bad: beam.PCollection) -> beam.PCollection:
        """Counts each reason and keeps its first records as examples."""
        return bad | beam.Map(_by_reason) | beam.CombinePerKey(merge_summaries)


def _by_reason(record: BadRecord) -> tuple[tuple[str, str, str], ReasonSummary]:
    table, position, key, reason, value, column = record
    return (table, column, reason), (1, [(position, key[:_LONGEST_KEY], value)])


def merge_summaries(summaries: Iterable[ReasonSummary]) -> ReasonSummary:
    """The number of all records, and the first of the examples."""
    number = 0
    examples: list[tuple[int, str, str]] = []
    for more_records, more_examples in summaries:
        number += more_records
        examples.extend(more_examples)
    return number, heapq.nsmallest(_NUM_EXAMPLES, examples)
