"""Reads a table: good records as plain tuples, bad records into quarantine, reasons summed up."""

import heapq
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from pipelines.transforms import beam_job, table_files, table_sources
from pipelines.transforms.cells import BadCell
from tfrs_twotower.artifacts import shard_of
from tfrs_twotower.errors import DataError

STAGE = "preprocess"
_NUM_EXAMPLES = 3
_LONGEST_VALUE = 200
_LONGEST_KEY = 60
_REPORT_EVERY = 10_000
BadRecord = tuple[str, int, str, str, str]
"""Table, position, key, reason and the value that was refused."""
ReasonSummary = tuple[int, list[tuple[int, str]]]
"""The number of records, and the positions and keys of the first of them."""
RECORDS, BAD, COUNTS = "records", "bad", "counts"
"""Tags of outputs: good records, bad records, and `(name, number)` pairs that are added up."""
Parser = Callable[[int, Sequence[Any]], tuple[Any, ...]]
"""Turns a position and the cells of a record into a named tuple; raises `BadCell`."""


class ReadTable(beam.PTransform):
    """Reads all files of a table, each file from start to end by one worker.

    Outputs `records` (the parser's results as plain tuples), `bad`, and `counts`: the numbers of
    records that were read, `read_<table>`, and of files, `files_<table>`.
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
                BAD, COUNTS, main=RECORDS
            )
        )


class _ReadFile(beam.DoFn):
    def __init__(self, source: table_sources.Source, parse: Parser) -> None:
        self._source = source
        self._parse = parse

    def process(self, file_number: int) -> Iterable[Any]:
        source, parse = self._source, self._parse
        path = source.files[file_number]
        number_read = unreported = 0
        try:
            for number, cells, reason in table_files.read_table_file(
                path, source.file_format, source.columns
            ):
                number_read += 1
                unreported += 1
                if unreported == _REPORT_EVERY:
                    beam_job.count_records(unreported)
                    unreported = 0
                position = table_files.position_of(file_number, number)
                if cells is None:
                    yield _bad(source, position, "", reason)
                    continue
                try:
                    yield tuple(parse(position, cells))
                except BadCell as bad:
                    yield _bad(source, position, _key(cells), bad.reason, bad.value)
        except table_files.UnreadableFile as cause:
            raise DataError(
                f"{source.table}: {cause}, after {number_read} records. Check the file: it may "
                "have been cut off while it was written or copied."
            ) from cause
        beam_job.count_records(unreported)
        yield pvalue.TaggedOutput(COUNTS, (f"read_{source.table}", number_read))
        yield pvalue.TaggedOutput(COUNTS, (f"files_{source.table}", 1))


def _bad(
    source: table_sources.Source, position: int, key: str, reason: str, value: Any = ""
) -> Any:
    return pvalue.TaggedOutput(BAD, bad_record(source.table, position, key, reason, value))


def _key(cells: Sequence[Any]) -> str:
    return "" if cells[0] is None else str(cells[0])[:_LONGEST_VALUE]


def bad_record(table: str, position: int, key: str, reason: str, value: Any = "") -> BadRecord:
    """Describes a bad record; long values are cut."""
    shown = "" if value in ("", None) else repr(value)[:_LONGEST_VALUE]
    return (table, position, key, reason, shown)


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
    table, position, key, reason, value = record
    line = {
        "stage": STAGE,
        "table": table,
        "key": key,
        "reason": f"{reason} (found {value})" if value else reason,
        "source": sources[table].describe(position),
    }
    shard = shard_of(f"{table}:{position}", num_shards)
    text = json.dumps(line, ensure_ascii=False, sort_keys=True)
    return (f"quarantine/{table}", shard), (position, text)


class SummariseReasons(beam.PTransform):
    """Turns bad records into `((table, reason), summary)`."""

    def expand(self, bad: beam.PCollection) -> beam.PCollection:
        """Counts each reason and keeps its first records as examples."""
        return bad | beam.Map(_by_reason) | beam.CombinePerKey(_FirstRecords())


def _by_reason(record: BadRecord) -> tuple[tuple[str, str], tuple[int, str]]:
    table, position, key, reason, _ = record
    return (table, reason), (position, key[:_LONGEST_KEY])


class _FirstRecords(beam.CombineFn):
    def create_accumulator(self) -> ReasonSummary:
        return 0, []

    def add_input(self, accumulator: ReasonSummary, element: tuple[int, str]) -> ReasonSummary:
        return self.merge_accumulators([accumulator, (1, [element])])

    def merge_accumulators(self, accumulators: Iterable[ReasonSummary]) -> ReasonSummary:
        number = 0
        examples: list[tuple[int, str]] = []
        for more_records, more_examples in accumulators:
            number += more_records
            examples.extend(more_examples)
        return number, heapq.nsmallest(_NUM_EXAMPLES, examples)

    def extract_output(self, accumulator: ReasonSummary) -> ReasonSummary:
        return accumulator
