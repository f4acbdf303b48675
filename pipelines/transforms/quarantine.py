"""Bad records: a line of the quarantine for each, and a summary of their reasons.

Between transforms a bad record is a plain tuple `(table, position, key, reason, value)`.
"""

import heapq
import json
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam

from pipelines.transforms.table_sources import Source
from tfrs_twotower.artifacts import shard_of

STAGE = "preprocess"
_NUM_EXAMPLES = 3
_LONGEST_VALUE = 200
_LONGEST_KEY = 60
BadRecord = tuple[str, int, str, str, str]
ReasonSummary = tuple[int, list[tuple[int, str]]]
"""The number of records, and position and key of the first ones."""


def bad_record(table: str, position: int, key: str, reason: str, value: Any = "") -> BadRecord:
    """Describes a bad record; long values are cut."""
    shown = "" if value in ("", None) else repr(value)[:_LONGEST_VALUE]
    return (table, position, key, reason, shown)


class ReportQuarantine(beam.PTransform):
    """Bad records to output lines, `((name, shard), (position, json line))`."""

    def __init__(self, sources: Mapping[str, Source], num_shards: int) -> None:
        super().__init__()
        self._sources = dict(sources)
        self._num_shards = num_shards

    def expand(self, bad: beam.PCollection) -> beam.PCollection:
        """Makes one JSON line of each record, with its position in words."""
        return bad | beam.Map(_as_line, self._sources, self._num_shards)


def _as_line(
    record: BadRecord, sources: Mapping[str, Source], num_shards: int
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
    """Bad records to `((table, reason), summary)`."""

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
        for more, first in accumulators:
            number += more
            examples.extend(first)
        return number, heapq.nsmallest(_NUM_EXAMPLES, examples)

    def extract_output(self, accumulator: ReasonSummary) -> ReasonSummary:
        return accumulator
