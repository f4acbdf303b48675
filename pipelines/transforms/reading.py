"""Reads a table: good records as plain tuples, bad records into quarantine, reasons summed up."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import apache_beam as beam
from apache_beam import pvalue

from pipelines.transforms import beam_job, table_sources
from pipelines.transforms.cells import BadCell, as_text
from pipelines.transforms.watched_cells import CellWatch, Watched
from tfrs_twotower.artifacts import shard_of
from tfrs_twotower.data.lines import json_line
from tfrs_twotower.tables.delimited import FileNotes

STAGE = "preprocess"
_NUM_EXAMPLES = 3
_LONGEST_VALUE = 200
_LONGEST_KEY = 60
_REPORT_EVERY = 10_000
BadRecord = tuple[str, int, str, str, str, str]
"""Table, position, key, reason, the value that was refused, and the column of a cell that counts as
missing; "" where the record is left out."""
ReasonSummary = tuple[int, list[tuple[int, str, str]]]
"""The number of records, and the positions, keys and values of the first of them."""
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

    def __call__(
        self, position: int, cells: Sequence[Any], bad_cells: list[BadCell]
    ) -> tuple[Any, ...]:
        """Returns the record, and adds the cells that count as missing; raises `BadCell`."""


def said_of(table: str) -> str:
    """What the names of those counts begin with that are sentences about a table's files."""
    return f"said_{table}: "


class ReadTable(beam.PTransform):
    """Reads all files of a table, each file from start to end by one worker.

    Outputs `records` (the parser's results as plain tuples), `bad`, `forms`, and `counts`: the
    numbers of records that were read, `read_<table>`, of those that the spec leaves out,
    `left_out_<table>`, and of files, `files_<table>`.
    """

    def __init__(self, source: table_sources.Source, parse: Parser) -> None:
        super().__init__()
        self._source = source
        self._parse = parse

    def expand(self, root: beam.Pipeline) -> Any:
        """Distributes the numbers of the files over the workers."""
        return (
            root
            | beam.Create(list(range(len(self._source.files))), reshuffle=True)
            | beam.ParDo(_ReadFile(self._source, self._parse)).with_outputs(
                BAD, COUNTS, FORMS, main=RECORDS
            )
        )


class _ReadFile(beam.DoFn):
    def __init__(self, source: table_sources.Source, parse: Parser) -> None:
        self._source = source
        self._parse = parse

    def process(self, file_number: int) -> Iterable[Any]:
        source = self._source
        watch = CellWatch(self._parse.watched, source.columns)
        notes = FileNotes()
        number_read = unreported = left_out = 0
        for record, bad in read_records(source, file_number, self._parse, watch, notes):
            number_read += 1
            unreported += 1
            if unreported == _REPORT_EVERY:
                beam_job.count_records(unreported)
                unreported = 0
            for one in bad:
                yield pvalue.TaggedOutput(BAD, one)
            if record is not None:
                yield tuple(record)
            elif not bad:
                left_out += 1
        beam_job.count_records(unreported)
        yield pvalue.TaggedOutput(COUNTS, (f"read_{source.table}", number_read))
        yield pvalue.TaggedOutput(COUNTS, (f"files_{source.table}", 1))
        yield pvalue.TaggedOutput(COUNTS, (f"left_out_{source.table}", left_out))
        for sentence in notes.said():
            yield pvalue.TaggedOutput(COUNTS, (f"{said_of(source.table)}{sentence}", 1))
        for (column, form), seen in watch.seen():
            yield pvalue.TaggedOutput(FORMS, ((source.table, column, form), seen))


def read_records(
    source: table_sources.Source,
    file_number: int,
    parse: Parser,
    watch: CellWatch,
    notes: FileNotes,
) -> Iterator[tuple[tuple[Any, ...] | None, list[BadRecord]]]:
    """Reads one file of a table: each record, and what is bad about it.

    The record is None if it is bad, or, with nothing bad about it, if the spec leaves it out.

    Raises:
        DataError: the rest of the file cannot be read.
    """
    table, missing = source.table, parse.missing
    for position, cells, reason in source.records(file_number, notes):
        if cells is None:
            yield None, [bad_record(table, position, "", reason)]
            continue
        if missing:
            cells = tuple([None if isinstance(c, str) and c in missing else c for c in cells])
        if any(_text(cells[place]) in texts for place, texts in parse.leave_out):
            yield None, []
            continue
        watch.look(position, cells)
        bad_cells: list[BadCell] = []
        try:
            record = parse(position, cells, bad_cells)
        except BadCell as bad:
            yield None, [bad_record(table, position, _key(cells), bad.reason, bad.value)]
            continue
        yield (
            record,
            [
                bad_record(table, position, _key(cells), bad.reason, bad.value, bad.column)
                for bad in bad_cells
            ],
        )


def _key(cells: Sequence[Any]) -> str:
    return _text(cells[0])[:_LONGEST_VALUE]


def _text(cell: Any) -> str:
    try:
        return as_text(cell).strip()
    except BadCell:
        return str(cell)


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
