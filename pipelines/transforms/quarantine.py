"""Bad records: what is written about each, and a summary of why there are so many.

A bad record travels as a plain tuple `(table, position, key, reason, found)`.
"""

import heapq
import json
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam

from pipelines.transforms.sharded_output import shard_of
from pipelines.transforms.sources import Source

STAGE = "preprocess"
_NUM_EXAMPLES = 3
_LONGEST_FOUND = 200
_LONGEST_KEY = 60
BadRecord = tuple[str, int, str, str, str]
Summary = tuple[int, list[tuple[int, str]]]
"""The number of records, and position and key of the first ones."""


def bad_record(table: str, position: int, key: str, reason: str, found: Any = "") -> BadRecord:
    """What is known about a bad record; long values are cut."""
    shown = "" if found in ("", None) else repr(found)[:_LONGEST_FOUND]
    return (table, position, key, reason, shown)


class ReportQuarantine(beam.PTransform):
    """Bad records to output lines, `((name, shard), (position, json line))`."""

    def __init__(self, sources: Mapping[str, Source], num_shards: int) -> None:
        super().__init__()
        self._sources = dict(sources)
        self._num_shards = num_shards

    def expand(self, bad: beam.PCollection) -> beam.PCollection:
        """Writes the position in words."""
        return bad | beam.Map(_as_line, self._sources, self._num_shards)


def _as_line(
    record: BadRecord, sources: Mapping[str, Source], num_shards: int
) -> tuple[tuple[str, int], tuple[int, str]]:
    table, position, key, reason, found = record
    line = {
        "stage": STAGE,
        "table": table,
        "key": key,
        "reason": f"{reason} (found {found})" if found else reason,
        "source": sources[table].describe(position),
    }
    shard = shard_of(f"{table}:{position}", num_shards)
    text = json.dumps(line, ensure_ascii=False, sort_keys=True)
    return (f"quarantine/{table}", shard), (position, text)


class SummariseReasons(beam.PTransform):
    """Bad records to `((table, reason), summary)`."""

    def expand(self, bad: beam.PCollection) -> beam.PCollection:
        """Counts each reason and keeps its first records as examples."""
        return bad | beam.Map(_by_reason) | beam.CombinePerKey(_FirstRecords())


def _by_reason(record: BadRecord) -> tuple[tuple[str, str], tuple[int, str]]:
    table, position, key, reason, _ = record
    return (table, reason), (position, key[:_LONGEST_KEY])


class _FirstRecords(beam.CombineFn):
    def create_accumulator(self) -> Summary:
        return 0, []

    def add_input(self, accumulator: Summary, element: tuple[int, str]) -> Summary:
        return self.merge_accumulators([accumulator, (1, [element])])

    def merge_accumulators(self, accumulators: Iterable[Summary]) -> Summary:
        number = 0
        examples: list[tuple[int, str]] = []
        for more, first in accumulators:
            number += more
            examples.extend(first)
        return number, heapq.nsmallest(_NUM_EXAMPLES, examples)

    def extract_output(self, accumulator: Summary) -> Summary:
        return accumulator
