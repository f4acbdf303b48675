"""Reads a table: good records as plain tuples, and bad records and counts as further outputs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam import pvalue

from pipelines.transforms.beam_job import count_records
from pipelines.transforms.cells import BadCell
from pipelines.transforms.quarantine import bad_record
from pipelines.transforms.table_files import UnreadableFile, position_of, read_table_file
from pipelines.transforms.table_sources import Source
from tfrs_twotower.errors import DataError

RECORDS, BAD, COUNTS = "records", "bad", "counts"
"""Tags of outputs: good records, bad records, and `(name, number)` pairs that are added up."""
_REPORT_EVERY = 10_000
Parser = Callable[[int, Sequence[Any]], tuple[Any, ...]]


class ReadTable(beam.PTransform):
    """Reads all files of a table, each file from start to end by one worker.

    Outputs `records` (the parser's results as plain tuples), `bad`, and `counts`
    (`("read_<table>", number)`).
    """

    def __init__(self, source: Source, parse: Parser) -> None:
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
    def __init__(self, source: Source, parse: Parser) -> None:
        self._source = source
        self._parse = parse

    def process(self, file_number: int) -> Iterable[Any]:
        source, parse = self._source, self._parse
        path = source.files[file_number]
        number_read = unreported = 0
        try:
            for number, cells, reason in read_table_file(path, source.file_format, source.columns):
                number_read += 1
                unreported += 1
                if unreported == _REPORT_EVERY:
                    count_records(unreported)
                    unreported = 0
                position = position_of(file_number, number)
                if cells is None:
                    yield _bad(source, position, "", reason)
                    continue
                try:
                    yield tuple(parse(position, cells))
                except BadCell as bad:
                    yield _bad(source, position, _key(cells), bad.reason, bad.value)
        except UnreadableFile as cause:
            raise DataError(
                f"{source.table}: {cause}, after {number_read} records. Check the file: it may "
                "have been cut off while it was written or copied."
            ) from cause
        count_records(unreported)
        yield pvalue.TaggedOutput(COUNTS, (f"read_{source.table}", number_read))


def _bad(source: Source, position: int, key: str, reason: str, value: Any = "") -> Any:
    return pvalue.TaggedOutput(BAD, bad_record(source.table, position, key, reason, value))


def _key(cells: Sequence[Any]) -> str:
    return "" if cells[0] is None else str(cells[0])[:200]
